/* Learning what a teacher predicts: after that, the loss is the divergence from it. */
#include "pass/pass_impl.h"

static sb_status learn(sb_pass *p) {
  sb_pass_expect(p, 1);
  for (size_t wave = 0; wave < p->waves; wave++) {
    SB_TRY(sb_pass_forward_wave(p, wave, false));
    SB_AGREE(p->setup.model->world, sb_loss_divergence_keep(&p->divergence, p->head.states_dev));
  }
  return SB_OK;
}

sb_status sb_pass_learn(sb_pass *p) {
  sb_model *m = p->setup.model;
  uint8_t *bits = NULL;
  if (!p->setup.divergence) return sb_fail(SB_ERR_INTERNAL, "a pass was not set up to learn");
  sb_pass_take_loss_of_tokens(p);
  SB_TRY(sb_model_lift_bits(m, &bits));
  const sb_status status = learn(p);
  sb_model_return_bits(m, &bits);
  if (status == SB_OK) sb_pass_take_loss_of_divergence(p);
  return status;
}

sb_status sb_pass_learn_from(sb_pass *p, sb_pass *teacher) {
  const bool knows = teacher->loss.op == &sb_loss_divergence_ops;
  if (!p->setup.divergence || !knows || p->local != teacher->local || p->wave.T != teacher->wave.T)
    return sb_fail(SB_ERR_INTERNAL, "a pass cannot learn from another one");
  sb_loss_divergence_take(&p->divergence, &teacher->divergence);
  sb_pass_take_loss_of_tokens(teacher);
  sb_pass_take_loss_of_divergence(p);
  return SB_OK;
}

void sb_pass_learn_next(sb_pass *p) {
  sb_pass_take_loss_of_tokens(p);
  p->learn_next = p->setup.divergence;
}
