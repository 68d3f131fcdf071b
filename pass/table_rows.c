#include "pass/table_rows.h"

#include <string.h>

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

/* Groups and blocks of all tables. */
static void count_all(const sb_config *c, const sb_blocking *blocking, size_t *groups,
                      size_t *blocks) {
  const size_t across = (c->tie_embeddings ? 1 : 2) * sb_div_up(c->hidden, blocking->cols);
  *groups = c->vocab * across;
  *blocks = sb_div_up(c->vocab, blocking->rows) * across;
}

sb_status sb_table_rows_allocate(sb_table_rows *room, const sb_model *m, sb_backend *b,
                                 bool rounded) {
  size_t groups, blocks;
  room->backend = b;
  if (!rounded) return SB_OK;
  count_all(&m->config, &m->blocking, &groups, &blocks);
  SB_TRY(sb_alloc(&room->bits, blocks, 1, "fits of embedding and LM head"));
  SB_TRY(b->op->alloc(b, groups, "fits of embedding and LM head", (void **)&room->fits_dev));
  if (b->unified) return SB_OK;
  return b->op->alloc(b, m->config.hidden * sizeof(float), "importance of columns",
                      (void **)&room->importance_dev);
}

size_t sb_table_rows_bytes(const sb_backend *b, const sb_blocking *blocking,
                           const sb_config *config) {
  size_t groups, blocks;
  count_all(config, blocking, &groups, &blocks);
  return groups + blocks + (b->unified ? 0 : config->hidden * sizeof(float));
}

void sb_table_rows_free(sb_table_rows *room) {
  if (!room->backend) return;
  sb_free(&room->bits);
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

/* *fits_dev = the fits of the chunk's groups at its present bits. */
static sb_status fit(sb_table_rows *room, sb_stream stream, const sb_model *m,
                     const sb_place *place, const chunk *c, const sb_block_weights *weights,
                     const float *importance, uint8_t **fits_dev) {
  sb_backend *b = room->backend;
  const size_t across = sb_tiling_block_cols(&c->tiling),
               blocks = sb_tiling_block_rows(&c->tiling) * across;
  if (!room->fits_dev)
    return sb_fail(SB_ERR_INTERNAL, "a pass was set up before its tables had widths");
  uint8_t *known = room->bits + (size_t)(c->bits - m->bits) - m->blocks;
  *fits_dev = room->fits_dev + c->matrix->first_group - m->quant_groups + place->first_row * across;
  if (memcmp(known, c->bits, blocks) == 0) return SB_OK;
  if (!b->unified) {
    SB_TRY(b->op->upload(b, stream, room->importance_dev, importance,
                         c->tiling.cols * sizeof *importance));
    importance = room->importance_dev;
  }
  SB_TRY(b->op->fit_blocks(b, stream, *fits_dev, weights, importance));
  memcpy(known, c->bits, blocks);
  return SB_OK;
}

static sb_status round_rows(sb_table_rows *room, sb_stream stream, const sb_model *m,
                            const sb_place *place, const chunk *c, const void *rows_dev, void *out,
                            sb_dtype dtype) {
  sb_backend *b = room->backend;
  uint8_t *fits_dev = NULL;
  const float *importance = sb_model_importance(m, c->matrix);
  const sb_block_weights weights = {.w = rows_dev,
                                    .dtype = m->dtypes[c->matrix->tensor],
                                    .tiling = &c->tiling,
                                    .bits = c->bits,
                                    .code_kind = sb_model_code_kind(m, c->matrix)};
  if (importance) SB_TRY(fit(room, stream, m, place, c, &weights, importance, &fits_dev));
  return b->op->quantize_blocks(b, stream, out, dtype, &weights, fits_dev);
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

sb_status sb_table_rows_make(sb_table_rows *room, sb_stream stream, const sb_model *m,
                             const sb_place *place, const void *bytes_dev, void *out,
                             sb_dtype dtype) {
  const chunk c = chunk_of(m, place);
  return m->coding == SB_CODING_CODES
             ? decode_rows(room, stream, m, place, &c, bytes_dev, out, dtype)
             : round_rows(room, stream, m, place, &c, bytes_dev, out, dtype);
}
