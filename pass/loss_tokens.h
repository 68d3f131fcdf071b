/* The loss of language models: the negative log-likelihood of each token given the
 * ones before. Its statistics of the soft-max (log-sum-exp, most likely token) serve
 * other losses and comparisons. */
#ifndef SB_PASS_LOSS_TOKENS_H
#define SB_PASS_LOSS_TOKENS_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "pass/loss.h"

/* Rows are tokens of the wave, [room, T]. */
typedef struct sb_loss_tokens {
  const sb_wave *wave;
  float *row_max_dev, *row_sum_dev, *target_logit_dev; /* kernels: xent_chunk */
  uint32_t *argmax_dev;                                /* most likely next token */
  float *lse_dev;                                      /* log-sum-exp of the logits */
  double *nll_dev, *host_nll;
} sb_loss_tokens;

/* The wave outlives the loss. sb_loss_tokens_free also releases the memory of a
 * failed call. Local. */
sb_status sb_loss_tokens_allocate(sb_loss_tokens *loss, const sb_wave *wave);
void sb_loss_tokens_free(sb_loss_tokens *loss);
/* Bytes that sb_loss_tokens_allocate takes. */
size_t sb_loss_tokens_bytes(const sb_wave_sizes *wave);

extern const sb_loss_ops sb_loss_tokens_ops; /* state: sb_loss_tokens */

/* The mean of a sequence's rows [T], added up in the order of its tokens; the last row has no
 * target and is 0. */
double sb_loss_mean(const double *rows, size_t T);
/* The factor of a row's gradient in that of its sequence: 1 / (T - 1). */
float sb_loss_scale(const sb_wave *wave);

#endif
