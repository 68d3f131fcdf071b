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

static bool is_coded(const sb_model *m, size_t first_group) {
  const sb_table *table = sb_model_table(m, sb_vocab_place(m, first_group)->tensor);
  return table->coded;
}

/* Bytes per element of a chunk. Rows are operands of the head, or activations of an embedding that
 * has widths. */
typedef struct widths {
  size_t rows, teacher, source, gradient;
} widths;

static widths widths_of(const sb_backend *b, const sb_vocab_needs *n) {
  const size_t operand = sb_dtype_size(b->operand), act = sb_dtype_size(b->act);
  const bool head = n->head && !(n->packed && n->coded_head),
             embedding = n->coded_embedding && !n->packed;
  return (widths){.rows = sb_max_size(head ? operand : 0, embedding ? act : 0),
                  .teacher = n->teacher && n->coded_head ? operand : 0,
                  .source = b->unified ? 0 : sizeof(float),
                  .gradient = n->gradients ? sizeof(float) : 0};
}

/* Units of a chunk in codes are larger than its floats only in blocks of a column or two. */
static size_t source_bytes(const sb_model *m, size_t elements) {
  size_t most = elements * sizeof(float);
  for (size_t i = 0; i < m->head_count; i++)
    most = sb_max_size(most, sb_place_bytes(m, sb_vocab_place(m, m->head_first + i)));
  for (size_t i = 0; i < m->embed_count; i++)
    most = sb_max_size(most, sb_place_bytes(m, sb_vocab_place(m, m->embed_first + i)));
  return most;
}

/* Source rows are rounded. */
static bool is_rounded(const sb_vocab_needs *n) {
  return !n->codes && (n->coded_embedding || (n->head && n->coded_head));
}

static sb_status allocate(sb_backend *b, size_t bytes, void **out) {
  return bytes > 0 ? b->op->alloc(b, bytes, "a chunk of the vocabulary", out) : SB_OK;
}

sb_status sb_vocab_allocate(sb_vocab *v, sb_wave *wave, const sb_vocab_needs *needs) {
  sb_model *m = wave->model;
  sb_backend *b = wave->backend;
  v->wave = wave;
  v->model = m;
  v->largest = largest_chunk(m);
  sb_vocab_needs n = *needs;
  n.coded_embedding = is_coded(m, m->embed_first);
  n.coded_head = is_coded(m, m->head_first);
  n.codes = m->coding == SB_CODING_CODES;
  n.packed = n.packed && n.codes;
  v->keep_packed = n.packed;
  const size_t elements = v->largest * m->config.hidden;
  const widths each = widths_of(b, &n);
  SB_TRY(allocate(b, elements * each.rows, &v->rows_dev));
  SB_TRY(allocate(b, elements * each.teacher, &v->teacher_dev));
  SB_TRY(allocate(b, b->unified ? 0 : source_bytes(m, elements), &v->source_dev));
  SB_TRY(allocate(b, elements * each.gradient, (void **)&v->gradient_dev));
  return sb_table_rows_allocate(&v->coded, m, b, is_rounded(&n));
}

size_t sb_vocab_bytes(const sb_wave_sizes *w, const sb_vocab_needs *needs) {
  const size_t elements = w->chunk * w->model->arch->config.hidden;
  const widths each = widths_of(w->backend, needs);
  return elements * (each.rows + each.teacher + each.source + each.gradient) +
         (is_rounded(needs)
              ? sb_table_rows_bytes(w->backend, &w->model->blocking, &w->model->arch->config)
              : 0);
}

void sb_vocab_free(sb_vocab *v) {
  if (!v->wave) return;
  sb_backend *b = v->wave->backend;
  b->op->packed_destroy(b, v->packed);
  sb_table_rows_free(&v->coded);
  b->op->free(b, v->rows_dev);
  b->op->free(b, v->teacher_dev);
  b->op->free(b, v->source_dev);
  b->op->free(b, v->gradient_dev);
}

/* ---- a chunk on the device ---- */

/* *bytes_dev = the units of a place, as the image has them. */
static sb_status bring_bytes(const sb_vocab *v, const sb_model *m, const sb_place *place,
                             const void *image, const void **bytes_dev) {
  const sb_wave *w = v->wave;
  sb_backend *b = w->backend;
  *bytes_dev = sb_place_image(m, place, image);
  if (b->unified) return SB_OK;
  SB_TRY(b->op->upload(b, w->stream, v->source_dev, *bytes_dev, sb_place_bytes(m, place)));
  *bytes_dev = v->source_dev;
  return SB_OK;
}

/* A chunk that is coded: ready for products as it is, or as rows of type `dtype`. */
static sb_status make_rows(sb_vocab *v, const sb_place *place, sb_dtype dtype,
                           sb_vocab_chunk *out) {
  if (v->keep_packed) {
    const void *codes_dev = out->rows_dev;
    out->rows_dev = NULL;
    SB_TRY(sb_table_rows_keep(&v->coded, v->wave->stream, v->model, place, codes_dev, &v->packed));
    out->packed = v->packed;
    return SB_OK;
  }
  if (!v->rows_dev)
    return sb_fail(SB_ERR_INTERNAL, "a pass was set up before its tables had widths");
  SB_TRY(sb_table_rows_make(&v->coded, v->wave->stream, v->model, place, out->rows_dev, v->rows_dev,
                            dtype));
  out->rows_dev = v->rows_dev;
  out->dtype = dtype;
  return SB_OK;
}

/* In the source's type. */
static sb_status bring_source(const sb_vocab *v, sb_model *m, size_t group, const void *image,
                              sb_vocab_chunk *out) {
  const sb_place *place = sb_vocab_place(m, group);
  *out = (sb_vocab_chunk){.tensor = place->tensor,
                          .first = place->first_row,
                          .count = place->rows,
                          .dtype = m->dtypes[place->tensor]};
  return bring_bytes(v, m, place, image, &out->rows_dev);
}

/* As operands, in `room` where they are not in source_dev or the image. */
static sb_status as_operands(const sb_vocab *v, void *room, sb_vocab_chunk *chunk) {
  const sb_wave *w = v->wave;
  sb_backend *b = w->backend;
  if (chunk->dtype == b->operand) return SB_OK;
  SB_TRY(b->op->convert(b, w->stream, room, b->operand, chunk->rows_dev, chunk->dtype,
                        chunk->count * w->model->config.hidden));
  chunk->rows_dev = room;
  chunk->dtype = b->operand;
  return SB_OK;
}

static sb_status bring_embedding(sb_vocab *v, size_t group, const void *image,
                                 sb_vocab_chunk *out) {
  const sb_place *place = sb_vocab_place(v->model, group);
  SB_TRY(bring_source(v, v->model, group, image, out));
  if (!sb_table_rows_are_coded(v->model, place)) return SB_OK;
  return make_rows(v, place, v->wave->backend->act, out);
}

sb_status sb_vocab_operands(sb_vocab *v, size_t group, const void *image, sb_vocab_chunk *out) {
  const sb_place *place = sb_vocab_place(v->model, group);
  SB_TRY(bring_source(v, v->model, group, image, out));
  return sb_table_rows_are_coded(v->model, place)
             ? make_rows(v, place, v->wave->backend->operand, out)
             : as_operands(v, v->rows_dev, out);
}

/* ---- all chunks ---- */

/* A walk through a table; `theirs` goes along where the teacher's rows are another model's. */
typedef struct table_walk {
  sb_vocab *vocab;
  bool head;
  sb_group_walk ours, theirs;
  size_t group, their_group;
  const void *image, *their_image;
} table_walk;

static table_walk begin_walk(sb_vocab *v, bool head) {
  const sb_model *m = v->model, *t = v->teacher;
  const size_t first = head ? m->head_first : m->embed_first,
               count = head ? m->head_count : m->embed_count;
  table_walk walk = {
      .vocab = v, .head = head, .ours = sb_group_walk_begin(m->store, first, count, false)};
  if (head && t && t != m && is_coded(m, first))
    walk.theirs = sb_group_walk_begin(t->store, t->head_first, t->head_count, false);
  return walk;
}

/* Collective. */
static sb_status enter(table_walk *walk) {
  SB_TRY(sb_group_walk_enter(&walk->ours, &walk->group, &walk->image));
  if (walk->theirs.count == 0) return SB_OK;
  return sb_group_walk_enter(&walk->theirs, &walk->their_group, &walk->their_image);
}

static sb_status leave(table_walk *walk) {
  if (walk->theirs.count > 0) SB_TRY(sb_group_walk_leave(&walk->theirs));
  return sb_group_walk_leave(&walk->ours);
}

/* The teacher's rows beside those that are already there. Rows that are not coded are its own. */
static sb_status bring_teacher(const table_walk *walk, sb_vocab_chunk *out) {
  sb_vocab *v = walk->vocab;
  const bool other = walk->theirs.count > 0;
  sb_vocab_chunk source;
  out->teacher_dev = out->rows_dev;
  if (!sb_table_rows_are_coded(v->model, sb_vocab_place(v->model, walk->group))) return SB_OK;
  SB_TRY(bring_source(v, v->teacher, other ? walk->their_group : walk->group,
                      other ? walk->their_image : walk->image, &source));
  if (source.first != out->first || source.count != out->count)
    return sb_fail(SB_ERR_INTERNAL, "the teacher's vocabulary is cut into other chunks");
  if (!v->teacher_dev)
    return sb_fail(SB_ERR_INTERNAL, "a pass was set up before its tables had widths");
  SB_TRY(as_operands(v, v->teacher_dev, &source));
  out->teacher_dev = source.rows_dev;
  return SB_OK;
}

static sb_status bring(const table_walk *walk, sb_vocab_chunk *out) {
  sb_vocab *v = walk->vocab;
  if (!walk->head) return bring_embedding(v, walk->group, walk->image, out);
  SB_TRY(sb_vocab_operands(v, walk->group, walk->image, out));
  return v->teacher ? bring_teacher(walk, out) : SB_OK;
}

static sb_status each(sb_vocab *v, bool head, sb_vocab_work work, sb_vocab_work end,
                      void *context) {
  const sb_wave *w = v->wave;
  table_walk walk = begin_walk(v, head);
  while (sb_group_walk_more(&walk.ours)) {
    sb_vocab_chunk chunk;
    sb_status status = enter(&walk);
    SB_THEN(bring(&walk, &chunk));
    SB_THEN(work(context, &chunk));
    /* the image is given back, and the room used again */
    SB_THEN(w->backend->op->sync(w->backend, w->stream));
    SB_AGREE(w->model->world, status);
    if (end) SB_TRY(end(context, &chunk));
    SB_TRY(leave(&walk));
  }
  return SB_OK;
}

sb_status sb_vocab_each_of_head(sb_vocab *v, sb_vocab_work work, sb_vocab_work end, void *context) {
  return each(v, true, work, end, context);
}

sb_status sb_vocab_each_of_embedding(sb_vocab *v, sb_vocab_work work, void *context) {
  return each(v, false, work, NULL, context);
}

sb_status sb_vocab_logits(const sb_wave *w, const sb_vocab_chunk *chunk, void *states, size_t s,
                          float *logits) {
  sb_backend *b = w->backend;
  const size_t h = w->model->config.hidden;
  if (chunk->packed)
    return b->op->packed_gemm(b, w->stream, logits, sb_wave_operand(w, states, s, h), w->T,
                              chunk->packed, false);
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
