/* The divergence of predictions from those of a teacher, the source weights: KL(teacher || model)
 * of the predicted distributions, mean over the tokens of a sequence.
 *
 * The teacher's predictions would be tokens x vocabulary numbers. Host memory keeps the
 * states before the LM head instead; the chunks of the head multiply with both, the model's
 * and the teacher's. */
#ifndef SB_PASS_LOSS_DIVERGENCE_H
#define SB_PASS_LOSS_DIVERGENCE_H

#include <stddef.h>

#include "base/status.h"
#include "pass/loss_tokens.h"

typedef struct sb_loss_divergence {
  const sb_wave *wave;
  sb_model
      *teacher; /* whose head, in source precision, the kept states belong to; NULL: nobody's */
  sb_loss_tokens *tokens; /* runs along: the model's log-sum-exp, and its likelihood of tokens */
  /* Of the teacher, for all sequences of this rank, host memory. */
  char *all_states; /* [local, T, hidden] after the final norm, operands */
  float *all_lse;   /* [local, T] log-sum-exp of their logits */
  /* The same for the wave at hand, device memory. */
  void *states_dev;         /* [room, T, hidden] */
  float *lse_dev;           /* [room, T] */
  float *logits_dev;        /* [T, largest chunk] the teacher's */
  double *kl_dev, *host_kl; /* [room, T] */
} sb_loss_divergence;

/* For `local` sequences of this rank, and chunks of at most `largest` tokens. Wave and tokens
 * outlive the loss. sb_loss_divergence_free also releases the memory of a failed call. Local. */
sb_status sb_loss_divergence_allocate(sb_loss_divergence *loss, const sb_wave *wave,
                                      sb_loss_tokens *tokens, size_t local, size_t largest);
void sb_loss_divergence_free(sb_loss_divergence *loss);
/* Bytes that sb_loss_divergence_allocate takes for `local` sequences. */
size_t sb_loss_divergence_bytes(const sb_wave_sizes *wave, size_t local);

extern const sb_loss_ops sb_loss_divergence_ops; /* state: sb_loss_divergence */

/* After the wave at hand has gone forward through its model, the teacher: keeps `states` [room, T,
 * hidden], operands, and the log-sum-exps that `tokens` has. Local. */
sb_status sb_loss_divergence_keep(sb_loss_divergence *loss, const void *states);
/* Takes over the states that `from` has kept, of the same sequences; `from` then has none. */
void sb_loss_divergence_take(sb_loss_divergence *loss, sb_loss_divergence *from);

#endif
