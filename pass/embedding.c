#include "pass/embedding.h"

typedef struct target {
  const sb_wave *wave;
  void *x;
} target;

static sb_status embed_chunk(void *context, const sb_vocab_chunk *chunk) {
  const target *to = context;
  const sb_wave *w = to->wave;
  const size_t h = w->model->config.hidden;
  for (size_t s = 0; s < w->count; s++)
    SB_TRY(w->backend->op->embed(w->backend, w->stream, sb_wave_act(w, to->x, s, h),
                                 w->ids_dev + s * w->T, chunk->rows_dev, chunk->dtype, w->T, h,
                                 chunk->first, chunk->count));
  return SB_OK;
}

sb_status sb_embedding_forward(sb_vocab *v, void *x) {
  target to = {v->wave, x};
  return sb_vocab_each_of_embedding(v, embed_chunk, &to);
}
