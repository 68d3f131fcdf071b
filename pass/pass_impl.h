/* The inside of a pass: what pass.c creates and forward.c, backward.c, learn.c and compare.c use.
 * No file outside this room includes it. */
#ifndef SB_PASS_PASS_IMPL_H
#define SB_PASS_PASS_IMPL_H

#include "pass/head.h"
#include "pass/kept_inputs.h"
#include "pass/kept_states.h"
#include "pass/layers.h"
#include "pass/loss_divergence.h"
#include "pass/loss_tokens.h"
#include "pass/pass.h"
#include "pass/vocabulary.h"
#include "pass/wave.h"

struct sb_pass {
  sb_pass_setup setup;
  sb_wave wave;
  size_t first, local; /* this rank's sequences that passes take (sb_pass_select) */
  size_t waves;        /* the same on all ranks */
  bool kept; /* the inputs of the only wave belong to the model's present bits: no forward part */
  const sb_pass_observer *observer; /* of the running forward part, or NULL */
  const sb_table_hooks *tables;     /* listens to the tables on the way back, or NULL */

  sb_vocab vocab;
  sb_head head;
  sb_layers layers;
  sb_device_layer *prepared;
  sb_kept_inputs inputs;
  sb_kept_states states;
  void *grads_dev; /* [room, T, hidden] dL/d(output of a layer), then of its input */

  sb_loss loss; /* one of these two */
  sb_loss_tokens tokens;
  sb_loss_divergence divergence;
  bool learn_next; /* the next gradient pass is the teacher's (sb_pass_learn_next) */

  sb_sequence_loss *losses; /* [local] of the last forward part */
  double token_loss;
};

static inline void sb_pass_take_loss_of_tokens(sb_pass *pass) {
  pass->loss = (sb_loss){&sb_loss_tokens_ops, &pass->tokens};
  pass->vocab.teacher = NULL;
}
/* The head then comes with the rows that the teacher's logits are products with. */
static inline void sb_pass_take_loss_of_divergence(sb_pass *pass) {
  pass->loss = (sb_loss){&sb_loss_divergence_ops, &pass->divergence};
  pass->vocab.teacher = pass->divergence.teacher;
}

/* Forward of a wave up to the final norm; keeps every layer's input where `keep`. Collective. */
sb_status sb_pass_forward_layers(sb_pass *pass, size_t wave, bool keep);
/* Forward of a wave, with the loss of its sequences. Collective. */
sb_status sb_pass_forward_wave(sb_pass *pass, size_t wave, bool keep);
/* The mean of the losses over all sequences; also sets token_loss. Collective. */
sb_status sb_pass_mean_loss(sb_pass *pass, double *loss);
/* Begins a call that goes through all layers and the head `passes` times. Forward counts 1,
 * backward 3, because it recomputes. */
void sb_pass_expect(sb_pass *pass, double passes);

#endif
