#include "pass/embedding.h"

#include "base/trace.h"
typedef struct target {
  const sb_wave *wave;
  void *x;
} target;

static sb_status embed_sequence(const target *to, const sb_vocab_chunk *chunk, size_t s) {
  const sb_wave *w = to->wave;
  sb_backend *b = w->backend;
  const size_t h = w->model->config.hidden;
  const uint32_t *ids = w->ids_dev + s * w->T;
  void *x = sb_wave_act(w, to->x, s, h);
  if (chunk->packed)
    return b->op->embed_packed(b, w->stream, x, ids, chunk->packed, w->T, chunk->first);
  return b->op->embed(b, w->stream, x, ids, chunk->rows_dev, chunk->dtype, w->T, h, chunk->first,
                      chunk->count);
}

static sb_status embed_chunk(void *context, const sb_vocab_chunk *chunk) {
  const target *to = context;
  for (size_t s = 0; s < to->wave->count; s++) SB_TRY(embed_sequence(to, chunk, s));
  return SB_OK;
}

sb_status sb_embedding_forward(sb_vocab *v, void *x) {
  SB_SPAN(SB_TRACE_COMPUTE, "embed", SB_TRACE_NONE);
  target to = {v->wave, x};
  return sb_vocab_each_of_embedding(v, embed_chunk, &to);
}

/* The way back through the table. */
typedef struct source {
  sb_vocab *vocab;
  void *dx;
  const sb_parameter_hook *hook;
  const sb_embedding_head *head;
} source;

static sb_status add_rows(const source *from, const sb_vocab_chunk *chunk, size_t s) {
  const sb_vocab *v = from->vocab;
  const sb_wave *w = v->wave;
  const size_t h = w->model->config.hidden;
  SB_TRY(w->backend->op->embed_back(w->backend, w->stream, v->gradient_dev, w->ids_dev + s * w->T,
                                    sb_wave_act(w, from->dx, s, h), w->T, h, chunk->first,
                                    chunk->count));
  return from->hook->gradient(from->hook->context, w->stream, chunk->tensor, chunk->first,
                              chunk->count, v->gradient_dev);
}

static sb_status tied_chunk(void *context, const sb_vocab_chunk *chunk) {
  const source *from = context;
  const sb_vocab *v = from->vocab;
  for (size_t s = 0; s < v->wave->count; s++) {
    SB_TRY(from->head->gradient(from->head->context, chunk, s, v->gradient_dev));
    SB_TRY(add_rows(from, chunk, s));
  }
  return SB_OK;
}

static sb_status end_chunk(void *context, const sb_vocab_chunk *chunk) {
  const source *from = context;
  return sb_parameter_end(from->hook, chunk->tensor, chunk->first, chunk->count);
}

static sb_status own_chunk(void *context, const sb_vocab_chunk *chunk) {
  const source *from = context;
  const sb_vocab *v = from->vocab;
  const sb_wave *w = v->wave;
  for (size_t s = 0; s < w->count; s++) {
    SB_TRY(w->backend->op->zero(w->backend, w->stream, v->gradient_dev,
                                chunk->count * w->model->config.hidden * sizeof(float)));
    SB_TRY(add_rows(from, chunk, s));
  }
  return SB_OK;
}

/* All chunks without their rows. */
static sb_status each_without_rows(source *from, sb_vocab_work work) {
  const sb_wave *w = from->vocab->wave;
  const sb_model *m = w->model;
  for (size_t i = 0; i < m->embed_count; i++) {
    const sb_place *place = sb_vocab_place(m, m->embed_first + i);
    const sb_vocab_chunk chunk = {
        .tensor = place->tensor, .first = place->first_row, .count = place->rows};
    sb_status status = work(from, &chunk);
    SB_THEN(w->backend->op->sync(w->backend, w->stream));
    SB_AGREE(m->world, status);
    SB_TRY(end_chunk(from, &chunk));
  }
  return SB_OK;
}

sb_status sb_embedding_backward(sb_vocab *v, void *dx, const sb_parameter_hook *hook,
                                const sb_embedding_head *head) {
  const bool tied = sb_vocab_is_tied(v->wave->model);
  source from = {v, dx, hook, head};
  if (tied && head->needs_rows) return sb_vocab_each_of_head(v, tied_chunk, end_chunk, &from);
  return each_without_rows(&from, tied ? tied_chunk : own_chunk);
}
