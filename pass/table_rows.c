#include "pass/table_rows.h"

#include "base/memory.h"
#include "pass/device_layer_room.h"

/* A chunk as a matrix of its own: chunks begin where blocks do. */
typedef struct chunk {
  const sb_matrix *matrix;
  sb_tiling tiling;
  const uint8_t *bits; /* [blocks of the chunk] */
} chunk;

static chunk chunk_of(const sb_model *m, const sb_place *place) {
  const sb_matrix *matrix = sb_model_place_matrix(m, place);
  chunk c = {.matrix = matrix, .tiling = matrix->tiling};
  c.tiling.rows = place->rows;
  c.bits = m->bits + matrix->first_block +
           sb_place_block_row(m, place, 0) * sb_tiling_block_cols(&matrix->tiling);
  return c;
}

sb_status sb_table_rows_allocate(sb_table_rows *room, const sb_model *m, sb_backend *b,
                                 size_t largest, bool rounded) {
  const size_t hidden = m->config.hidden;
  room->backend = b;
  if (!rounded) return SB_OK;
  SB_TRY(b->op->alloc(b, largest * sb_div_up(hidden, m->blocking.cols),
                      "fits of a chunk of the vocabulary", (void **)&room->fits_dev));
  if (b->unified) return SB_OK;
  return b->op->alloc(b, hidden * sizeof(float), "importance of columns",
                      (void **)&room->importance_dev);
}

size_t sb_table_rows_bytes(const sb_backend *b, const sb_blocking *blocking, size_t hidden,
                           size_t largest) {
  return largest * sb_div_up(hidden, blocking->cols) + (b->unified ? 0 : hidden * sizeof(float));
}

void sb_table_rows_free(sb_table_rows *room) {
  if (!room->backend) return;
  room->backend->op->free(room->backend, room->fits_dev);
  room->backend->op->free(room->backend, room->importance_dev);
}

bool sb_table_rows_are_coded(const sb_model *m, const sb_place *place) {
  if (!sb_model_place_matrix(m, place)) return false;
  if (m->coding == SB_CODING_CODES) return true;
  const chunk c = chunk_of(m, place);
  const size_t blocks = sb_tiling_block_rows(&c.tiling) * sb_tiling_block_cols(&c.tiling);
  for (size_t k = 0; k < blocks; k++)
    if (c.bits[k] != 0) return true;
  return false;
}

static sb_status round_rows(const sb_table_rows *room, sb_stream stream, const sb_model *m,
                            const chunk *c, const void *rows_dev, void *out, sb_dtype dtype) {
  sb_backend *b = room->backend;
  const float *importance = sb_model_importance(m, c->matrix);
  const sb_block_weights weights = {.w = rows_dev,
                                    .dtype = m->dtypes[c->matrix->tensor],
                                    .tiling = &c->tiling,
                                    .bits = c->bits,
                                    .code_kind = sb_model_code_kind(m, c->matrix)};
  if (!importance) return b->op->quantize_blocks(b, stream, out, dtype, &weights, NULL);
  if (!room->fits_dev)
    return sb_fail(SB_ERR_INTERNAL, "a pass was set up before its tables had widths");
  if (!b->unified) {
    SB_TRY(b->op->upload(b, stream, room->importance_dev, importance,
                         c->tiling.cols * sizeof *importance));
    importance = room->importance_dev;
  }
  SB_TRY(b->op->fit_blocks(b, stream, room->fits_dev, &weights, importance));
  return b->op->quantize_blocks(b, stream, out, dtype, &weights, room->fits_dev);
}

static sb_status decode_rows(const sb_table_rows *room, sb_stream stream, const sb_model *m,
                             const sb_place *place, const chunk *c, const void *codes_dev,
                             void *out, sb_dtype dtype) {
  sb_backend *b = room->backend;
  size_t *offsets;
  SB_TRY(sb_place_offsets(m, place, &offsets));
  const sb_status status =
      b->op->unpack_blocks(b, stream, out, dtype, codes_dev, offsets, &c->tiling, c->bits,
                           sb_model_code_kind(m, c->matrix), NULL);
  sb_free(&offsets);
  return status;
}

sb_status sb_table_rows_keep(const sb_table_rows *room, sb_stream stream, const sb_model *m,
                             const sb_place *place, const void *codes_dev, sb_packed *packed) {
  sb_backend *b = room->backend;
  const chunk c = chunk_of(m, place);
  size_t *offsets;
  b->op->packed_destroy(b, *packed);
  *packed = NULL;
  SB_TRY(sb_place_offsets(m, place, &offsets));
  const sb_status status = b->op->packed_create(b, stream, codes_dev, offsets, &c.tiling, c.bits,
                                                sb_model_code_kind(m, c.matrix), NULL, packed);
  sb_free(&offsets);
  return status;
}

sb_status sb_table_rows_make(const sb_table_rows *room, sb_stream stream, const sb_model *m,
                             const sb_place *place, const void *bytes_dev, void *out,
                             sb_dtype dtype) {
  const chunk c = chunk_of(m, place);
  return m->coding == SB_CODING_CODES
             ? decode_rows(room, stream, m, place, &c, bytes_dev, out, dtype)
             : round_rows(room, stream, m, &c, bytes_dev, out, dtype);
}
