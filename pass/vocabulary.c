#include "pass/vocabulary.h"

#include "base/memory.h"
#include "pass/device_layer.h"
#include "pass/group_walk.h"

static size_t largest_chunk(const sb_model *m) {
  size_t largest = 0;
  for (size_t i = 0; i < m->head_count; i++)
    largest = sb_max_size(largest, sb_vocab_place(m, m->head_first + i)->rows);
  for (size_t i = 0; i < m->embed_count; i++)
    largest = sb_max_size(largest, sb_vocab_place(m, m->embed_first + i)->rows);
  return largest;
}

sb_status sb_vocab_allocate(sb_vocab *v, sb_wave *wave, bool head, bool gradients) {
  sb_backend *b = wave->backend;
  v->wave = wave;
  v->largest = largest_chunk(wave->model);
  const size_t elements = v->largest * wave->model->config.hidden;
  if (head)
    SB_TRY(b->op->alloc(b, elements * sb_dtype_size(b->operand), "a chunk of the LM head",
                        &v->operands_dev));
  if (!b->unified)
    SB_TRY(b->op->alloc(b, elements * sizeof(float), "a chunk of the LM head", &v->source_dev));
  if (!gradients) return SB_OK;
  return b->op->alloc(b, elements * sizeof(float), "gradient of a chunk of the LM head",
                      (void **)&v->gradient_dev);
}

size_t sb_vocab_bytes(const sb_wave_sizes *w, bool head, bool gradients) {
  const size_t elements = w->chunk * w->model->arch->config.hidden;
  return elements * ((head ? sb_dtype_size(w->backend->operand) : 0) +
                     (w->backend->unified ? 0 : sizeof(float)) + (gradients ? sizeof(float) : 0));
}

void sb_vocab_free(sb_vocab *v) {
  if (!v->wave) return;
  sb_backend *b = v->wave->backend;
  b->op->free(b, v->operands_dev);
  b->op->free(b, v->source_dev);
  b->op->free(b, v->gradient_dev);
}

/* In the source's type. */
static sb_status bring(sb_vocab *v, size_t group, const void *image, sb_vocab_chunk *out) {
  const sb_wave *w = v->wave;
  const sb_model *m = w->model;
  sb_backend *b = w->backend;
  const sb_place *place = sb_vocab_place(m, group);
  const void *rows = sb_place_image(m, place, image);
  if (!b->unified) {
    SB_TRY(b->op->upload(b, w->stream, v->source_dev, rows,
                         place->rows * sb_model_row_bytes(m, place->tensor)));
    rows = v->source_dev;
  }
  *out = (sb_vocab_chunk){place->tensor, place->first_row, place->rows, rows,
                          m->dtypes[place->tensor]};
  return SB_OK;
}

sb_status sb_vocab_operands(sb_vocab *v, size_t group, const void *image, sb_vocab_chunk *out) {
  const sb_wave *w = v->wave;
  sb_backend *b = w->backend;
  SB_TRY(bring(v, group, image, out));
  if (out->dtype == b->operand) return SB_OK;
  SB_TRY(b->op->convert(b, w->stream, v->operands_dev, b->operand, out->rows_dev, out->dtype,
                        out->count * w->model->config.hidden));
  out->rows_dev = v->operands_dev;
  out->dtype = b->operand;
  return SB_OK;
}

typedef sb_status (*bring_chunk)(sb_vocab *v, size_t group, const void *image, sb_vocab_chunk *out);

static sb_status each(sb_vocab *v, sb_group_walk walk, bring_chunk from, sb_vocab_work work,
                      sb_vocab_work end, void *context) {
  const sb_wave *w = v->wave;
  while (sb_group_walk_more(&walk)) {
    size_t group;
    const void *image;
    sb_vocab_chunk chunk;
    sb_status status = sb_group_walk_enter(&walk, &group, &image);
    SB_THEN(from(v, group, image, &chunk));
    SB_THEN(work(context, &chunk));
    /* the image is given back, and the room used again */
    SB_THEN(w->backend->op->sync(w->backend, w->stream));
    SB_AGREE(w->model->world, status);
    if (end) SB_TRY(end(context, &chunk));
    SB_TRY(sb_group_walk_leave(&walk));
  }
  return SB_OK;
}

sb_status sb_vocab_each_of_head(sb_vocab *v, sb_vocab_work work, sb_vocab_work end, void *context) {
  const sb_model *m = v->wave->model;
  return each(v, sb_group_walk_begin(m->store, m->head_first, m->head_count, false),
              sb_vocab_operands, work, end, context);
}

sb_status sb_vocab_each_of_embedding(sb_vocab *v, sb_vocab_work work, void *context) {
  const sb_model *m = v->wave->model;
  return each(v, sb_group_walk_begin(m->store, m->embed_first, m->embed_count, false), bring, work,
              NULL, context);
}

sb_status sb_vocab_logits(const sb_wave *w, const sb_vocab_chunk *chunk, void *states, size_t s,
                          float *logits) {
  sb_backend *b = w->backend;
  const size_t h = w->model->config.hidden;
  return b->op->gemm(b, w->stream,
                     &(sb_gemm_args){.m = w->T,
                                     .n = chunk->count,
                                     .k = h,
                                     .a = sb_view(sb_wave_operand(w, states, s, h), b->operand, h),
                                     .b = sb_view_transposed(chunk->rows_dev, b->operand, h),
                                     .c = logits,
                                     .c_dtype = SB_F32,
                                     .ldc = chunk->count});
}
