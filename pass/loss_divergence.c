#include "pass/loss_divergence.h"

#include "base/memory.h"

static size_t state_bytes(const sb_wave *w, size_t rows) {
  return rows * w->model->config.hidden * sb_dtype_size(w->backend->operand);
}

sb_status sb_loss_divergence_allocate(sb_loss_divergence *l, const sb_wave *wave,
                                      sb_loss_tokens *tokens, size_t local, size_t largest) {
  sb_backend *b = wave->backend;
  const size_t rows = wave->room * wave->T, all = (local + 1) * wave->T;
  l->wave = wave;
  l->tokens = tokens;
  SB_TRY(sb_alloc(&l->all_states, state_bytes(wave, all), 1, "predictions of the source weights"));
  SB_TRY(sb_alloc(&l->all_lse, all, sizeof *l->all_lse, "predictions of the source weights"));
  SB_TRY(sb_alloc(&l->host_kl, rows, sizeof *l->host_kl, "divergences"));
  SB_TRY(b->op->alloc(b, state_bytes(wave, rows), "activations", &l->states_dev));
  SB_TRY(b->op->alloc(b, rows * sizeof *l->lse_dev, "activations", (void **)&l->lse_dev));
  SB_TRY(b->op->alloc(b, rows * sizeof *l->kl_dev, "divergences", (void **)&l->kl_dev));
  return b->op->alloc(b, wave->T * largest * sizeof *l->logits_dev, "activations",
                      (void **)&l->logits_dev);
}

size_t sb_loss_divergence_bytes(const sb_wave_sizes *w, size_t local) {
  const size_t row =
      w->model->arch->config.hidden * sb_dtype_size(w->backend->operand) + sizeof(float);
  return ((local + 1) * w->T + sb_wave_sizes_rows(w)) * row +
         sb_wave_sizes_rows(w) * 2 * sizeof(double) + w->T * w->chunk * sizeof(float);
}

void sb_loss_divergence_free(sb_loss_divergence *l) {
  if (!l->wave) return;
  sb_backend *b = l->wave->backend;
  void *device[] = {l->states_dev, l->lse_dev, l->kl_dev, l->logits_dev};
  for (size_t i = 0; i < sizeof device / sizeof *device; i++) b->op->free(b, device[i]);
  sb_free(&l->all_states);
  sb_free(&l->all_lse);
  sb_free(&l->host_kl);
}

sb_status sb_loss_divergence_keep(sb_loss_divergence *l, const void *states) {
  const sb_wave *w = l->wave;
  sb_backend *b = w->backend;
  const size_t first = w->first * w->T, rows = sb_wave_rows(w);
  l->teacher = w->model;
  if (rows == 0) return SB_OK;
  SB_TRY(b->op->download(b, w->stream, l->all_states + state_bytes(w, first), states,
                         state_bytes(w, rows)));
  SB_TRY(b->op->download(b, w->stream, l->all_lse + first, l->tokens->lse_dev,
                         rows * sizeof *l->all_lse));
  return b->op->sync(b, w->stream);
}

void sb_loss_divergence_take(sb_loss_divergence *l, sb_loss_divergence *from) {
  sb_free(&l->all_states);
  sb_free(&l->all_lse);
  l->all_states = from->all_states;
  l->all_lse = from->all_lse;
  l->teacher = from->teacher;
  from->all_states = NULL;
  from->all_lse = NULL;
  from->teacher = NULL;
}

static sb_status begin(void *state) {
  sb_loss_divergence *l = state;
  const sb_wave *w = l->wave;
  sb_backend *b = w->backend;
  const size_t first = w->first * w->T, rows = sb_wave_rows(w);
  SB_TRY(sb_loss_tokens_ops.begin(l->tokens));
  if (rows == 0) return SB_OK;
  SB_TRY(b->op->zero(b, w->stream, l->kl_dev, rows * sizeof *l->kl_dev));
  SB_TRY(b->op->upload(b, w->stream, l->states_dev, l->all_states + state_bytes(w, first),
                       state_bytes(w, rows)));
  return b->op->upload(b, w->stream, l->lse_dev, l->all_lse + first, rows * sizeof *l->lse_dev);
}

static sb_status chunk_forward(void *state, const sb_vocab_chunk *chunk, size_t s,
                               const float *logits) {
  sb_loss_divergence *l = state;
  const sb_wave *w = l->wave;
  const size_t row = s * w->T;
  const sb_vocab_chunk theirs = sb_vocab_teacher(chunk);
  SB_TRY(sb_loss_tokens_ops.chunk_forward(l->tokens, chunk, s, logits));
  SB_TRY(sb_vocab_logits(w, &theirs, l->states_dev, s, l->logits_dev));
  /* The model's own log-sum-exp is not known before the last chunk: kl_end makes up for it. */
  return w->backend->op->kl_chunk(w->backend, w->stream, l->kl_dev + row, l->logits_dev,
                                  l->lse_dev + row, logits, l->lse_dev + row, w->T, chunk->count);
}

static sb_status end(void *state, sb_sequence_loss *out) {
  const sb_loss_divergence *l = state;
  const sb_wave *w = l->wave;
  sb_backend *b = w->backend;
  const size_t rows = sb_wave_rows(w);
  SB_TRY(sb_loss_tokens_ops.end(l->tokens, out));
  SB_TRY(
      b->op->kl_end(b, w->stream, l->kl_dev, l->tokens->lse_dev, l->lse_dev, w->targets_dev, rows));
  SB_TRY(b->op->download(b, w->stream, l->host_kl, l->kl_dev, rows * sizeof *l->host_kl));
  SB_TRY(b->op->sync(b, w->stream));
  for (size_t s = 0; s < w->count; s++) out[s].loss = sb_loss_mean(l->host_kl + s * w->T, w->T);
  return SB_OK;
}

static sb_status chunk_backward(void *state, const sb_vocab_chunk *chunk, size_t s, float *logits) {
  const sb_loss_divergence *l = state;
  const sb_wave *w = l->wave;
  const size_t row = s * w->T;
  const sb_vocab_chunk theirs = sb_vocab_teacher(chunk);
  SB_TRY(sb_vocab_logits(w, &theirs, l->states_dev, s, l->logits_dev));
  return w->backend->op->kl_back_chunk(w->backend, w->stream, logits, l->tokens->lse_dev + row,
                                       l->logits_dev, l->lse_dev + row, w->targets_dev + row,
                                       sb_loss_scale(w), w->T, chunk->count);
}

const sb_loss_ops sb_loss_divergence_ops = {begin, chunk_forward, end, chunk_backward};
