/* The divergence from the source weights as the loss of a pass. The source weights' predictions
 * would be tokens x vocabulary numbers; kept are the states that the LM head makes them of, and the
 * chunks of the head multiply with both. */
#include <string.h>

#include "base/memory.h"
#include "pass/pass_impl.h"

static size_t state_bytes(const sb_pass *p, size_t rows) {
  return rows * p->model->config.hidden * sb_dtype_size(p->backend->operand);
}

sb_status sb_reference_create(sb_pass *p) {
  sb_backend *b = p->backend;
  sb_reference *r = &p->reference;
  const size_t rows = p->wave * p->T, all = (p->local + 1) * p->T;
  SB_TRY(sb_alloc(&r->all_states, state_bytes(p, all), 1, "predictions of the source weights"));
  SB_TRY(sb_alloc(&r->all_lse, all, sizeof *r->all_lse, "predictions of the source weights"));
  SB_TRY(sb_alloc(&r->host_kl, rows, sizeof *r->host_kl, "divergences"));
  SB_TRY(b->op->alloc(b, state_bytes(p, rows), "activations", &r->states));
  SB_TRY(b->op->alloc(b, rows * sizeof *r->lse, "activations", (void **)&r->lse));
  SB_TRY(b->op->alloc(b, rows * sizeof *r->kl, "divergences", (void **)&r->kl));
  return b->op->alloc(b, p->T * sb_head_largest_chunk(p->model) * sizeof *r->logits, "activations",
                      (void **)&r->logits);
}

void sb_reference_free(sb_pass *p) {
  sb_backend *b = p->backend;
  sb_reference *r = &p->reference;
  void *device[] = {r->states, r->lse, r->kl, r->logits};
  for (size_t i = 0; i < sizeof device / sizeof *device; i++) b->op->free(b, device[i]);
  sb_free(&r->all_states);
  sb_free(&r->all_lse);
  sb_free(&r->host_kl);
}

/* Where the wave's rows begin in all_lse, and their number. */
static size_t first_row(const sb_pass *p, size_t wave) {
  return (p->first + wave * p->wave) * p->T;
}

static size_t row_count(const sb_pass *p, size_t wave) {
  return sb_pass_wave_count(p, wave) * p->T;
}

sb_status sb_reference_keep(sb_pass *p, size_t wave) {
  sb_backend *b = p->backend;
  sb_reference *r = &p->reference;
  const size_t first = first_row(p, wave), rows = row_count(p, wave);
  if (rows == 0) return SB_OK;
  SB_TRY(b->op->download(b, p->stream, r->all_states + state_bytes(p, first), p->normed,
                         state_bytes(p, rows)));
  SB_TRY(b->op->download(b, p->stream, r->all_lse + first, p->lse, rows * sizeof *r->all_lse));
  return b->op->sync(b, p->stream);
}

static sb_status learn(sb_pass *p) {
  sb_pass_start_ticks(p, 1, 0);
  for (size_t wave = 0; wave < p->waves; wave++) {
    SB_TRY(sb_pass_forward_wave(p, wave, false));
    SB_TRY(sb_head_forward(p, wave));
    SB_AGREE(p->model->world, sb_reference_keep(p, wave));
  }
  return SB_OK;
}

sb_status sb_pass_learn(sb_pass *p) {
  uint8_t *bits = NULL;
  if (!p->setup.divergence) return sb_fail(SB_ERR_INTERNAL, "a pass was not set up to learn");
  p->reference.learnt = false;
  SB_TRY(sb_model_lift_bits(p->model, &bits));
  const sb_status status = learn(p);
  sb_model_return_bits(p->model, &bits);
  p->reference.learnt = status == SB_OK;
  return status;
}

sb_status sb_pass_learn_from(sb_pass *p, sb_pass *teacher) {
  sb_reference *r = &p->reference, *theirs = &teacher->reference;
  if (!p->setup.divergence || !theirs->learnt || p->local != teacher->local || p->T != teacher->T)
    return sb_fail(SB_ERR_INTERNAL, "a pass cannot learn from another one");
  sb_free(&r->all_states);
  sb_free(&r->all_lse);
  r->all_states = theirs->all_states;
  r->all_lse = theirs->all_lse;
  theirs->all_states = NULL;
  theirs->all_lse = NULL;
  theirs->learnt = false;
  r->learnt = true;
  return SB_OK;
}

void sb_pass_learn_next(sb_pass *p) {
  p->reference.learnt = false;
  p->reference.next = p->setup.divergence;
}

sb_status sb_reference_begin(sb_pass *p, size_t wave) {
  sb_backend *b = p->backend;
  sb_reference *r = &p->reference;
  const size_t first = first_row(p, wave), rows = row_count(p, wave);
  SB_TRY(b->op->zero(b, p->stream, r->kl, rows * sizeof *r->kl));
  if (rows == 0) return SB_OK;
  SB_TRY(b->op->upload(b, p->stream, r->states, r->all_states + state_bytes(p, first),
                       state_bytes(p, rows)));
  return b->op->upload(b, p->stream, r->lse, r->all_lse + first, rows * sizeof *r->lse);
}

sb_status sb_reference_forward(sb_pass *p, const void *weights, size_t nv, size_t s) {
  sb_reference *r = &p->reference;
  const size_t row = s * p->T;
  SB_TRY(sb_head_logits(p, r->states, weights, nv, s, r->logits));
  /* The model's own log-sum-exp is not known before the last chunk. */
  return p->backend->op->kl_chunk(p->backend, p->stream, r->kl + row, r->logits, r->lse + row,
                                  p->logits, r->lse + row, p->T, nv);
}

sb_status sb_reference_backward(sb_pass *p, const void *weights, size_t nv, size_t s, float scale) {
  sb_reference *r = &p->reference;
  const size_t row = s * p->T;
  SB_TRY(sb_head_logits(p, r->states, weights, nv, s, r->logits));
  return p->backend->op->kl_back_chunk(p->backend, p->stream, p->logits, p->lse + row, r->logits,
                                       r->lse + row, p->targets + row, scale, p->T, nv);
}

sb_status sb_reference_end(sb_pass *p, size_t wave) {
  sb_backend *b = p->backend;
  sb_reference *r = &p->reference;
  const size_t rows = row_count(p, wave);
  SB_TRY(b->op->kl_end(b, p->stream, r->kl, p->lse, r->lse, p->targets, rows));
  SB_TRY(b->op->download(b, p->stream, r->host_kl, r->kl, rows * sizeof *r->kl));
  return b->op->sync(b, p->stream);
}
