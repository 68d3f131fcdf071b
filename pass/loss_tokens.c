#include "pass/loss_tokens.h"

#include "base/memory.h"

sb_status sb_loss_tokens_allocate(sb_loss_tokens *l, const sb_wave *wave) {
  sb_backend *b = wave->backend;
  const size_t rows = wave->room * wave->T;
  l->wave = wave;
  void **const floats[] = {(void **)&l->row_max_dev, (void **)&l->row_sum_dev,
                           (void **)&l->target_logit_dev, (void **)&l->argmax_dev,
                           (void **)&l->lse_dev};
  for (size_t i = 0; i < sizeof floats / sizeof *floats; i++)
    SB_TRY(b->op->alloc(b, rows * sizeof(float), "losses of tokens", floats[i]));
  SB_TRY(b->op->alloc(b, rows * sizeof(double), "losses of tokens", (void **)&l->nll_dev));
  return sb_alloc(&l->host_nll, rows, sizeof *l->host_nll, "losses of tokens");
}

size_t sb_loss_tokens_bytes(const sb_wave_sizes *w) {
  return sb_wave_sizes_rows(w) * (5 * sizeof(float) + 2 * sizeof(double));
}

void sb_loss_tokens_free(sb_loss_tokens *l) {
  if (!l->wave) return;
  sb_backend *b = l->wave->backend;
  void *device[] = {l->row_max_dev, l->row_sum_dev, l->target_logit_dev,
                    l->argmax_dev,  l->lse_dev,     l->nll_dev};
  for (size_t i = 0; i < sizeof device / sizeof *device; i++) b->op->free(b, device[i]);
  sb_free(&l->host_nll);
}

double sb_loss_mean(const double *rows, size_t T) {
  double sum = 0;
  for (size_t t = 0; t < T; t++) sum += rows[t];
  return sum / (double)(T - 1);
}

float sb_loss_scale(const sb_wave *wave) {
  return (float)(1.0 / (double)(wave->T - 1));
}

static sb_status begin(void *state) {
  const sb_loss_tokens *l = state;
  const sb_wave *w = l->wave;
  return w->backend->op->xent_begin(w->backend, w->stream, l->row_max_dev, l->row_sum_dev,
                                    l->target_logit_dev, l->argmax_dev, sb_wave_rows(w));
}

static sb_status chunk_forward(void *state, const sb_vocab_chunk *chunk, size_t s,
                               const float *logits) {
  const sb_loss_tokens *l = state;
  const sb_wave *w = l->wave;
  const size_t row = s * w->T;
  return w->backend->op->xent_chunk(
      w->backend, w->stream, l->row_max_dev + row, l->row_sum_dev + row, l->target_logit_dev + row,
      l->argmax_dev + row, logits, w->targets_dev + row, w->T, chunk->first, chunk->count);
}

static sb_status end(void *state, sb_sequence_loss *out) {
  const sb_loss_tokens *l = state;
  const sb_wave *w = l->wave;
  sb_backend *b = w->backend;
  const size_t rows = sb_wave_rows(w);
  SB_TRY(b->op->xent_end(b, w->stream, l->lse_dev, l->nll_dev, l->row_max_dev, l->row_sum_dev,
                         l->target_logit_dev, w->targets_dev, rows));
  SB_TRY(b->op->download(b, w->stream, l->host_nll, l->nll_dev, rows * sizeof *l->host_nll));
  SB_TRY(b->op->sync(b, w->stream));
  for (size_t s = 0; s < w->count; s++)
    out[s].loss = out[s].nll = sb_loss_mean(l->host_nll + s * w->T, w->T);
  return SB_OK;
}

static sb_status chunk_backward(void *state, const sb_vocab_chunk *chunk, size_t s, float *logits) {
  const sb_loss_tokens *l = state;
  const sb_wave *w = l->wave;
  const size_t row = s * w->T;
  return w->backend->op->xent_back_chunk(w->backend, w->stream, logits, l->lse_dev + row,
                                         w->targets_dev + row, sb_loss_scale(w), w->T, chunk->first,
                                         chunk->count);
}

const sb_loss_ops sb_loss_tokens_ops = {begin, chunk_forward, end, chunk_backward};
