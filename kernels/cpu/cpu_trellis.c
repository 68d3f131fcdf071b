/* Matrices to transformed coordinates, and to the nearest trellis codes and back (ops/trellis.h).
 */
#include <omp.h>

#include "kernels/cpu/cpu_blocks.h"
#include "kernels/cpu/cpu_trellis_block.h"
#include "kernels/trellis_coder.h"

static sb_status check_kind(const char *operation, const sb_block_weights *m) {
  return sb_is_trellis(m->code_kind)
             ? SB_OK
             : sb_fail(SB_ERR_INTERNAL, "%s: the codes are grids", operation);
}

static void find_row_factors(const sb_backend *backend, uint16_t *row_factors,
                             const sb_block_weights *m, size_t first_row, uint64_t row_key,
                             const uint16_t *col_factors) {
  const size_t cols = m->tiling->cols;
  const unsigned width = m->bits ? m->bits[0] : 0;
#pragma omp parallel for num_threads(sb_cpu_threads(backend)) schedule(static)
  for (size_t r = 0; r < m->tiling->rows; r++)
    row_factors[r] = sb_trellis_row_factor(
        m->code_kind, width, sb_cpu_row_squares(m->w, m->dtype, r * cols, cols, col_factors), cols,
        sb_transform_sign(row_key, first_row + r));
}

/* Block k of a matrix. */
typedef struct block {
  sb_block_shape shape;
  sb_cpu_patch_place at;
} block;

static block block_of(const sb_block_weights *m, size_t k, const uint16_t *row_factors,
                      const uint16_t *col_factors) {
  const sb_tiling *t = m->tiling;
  const size_t columns = sb_tiling_block_cols(t), i = k / columns, j = k % columns,
               row = i * t->block_rows, col = j * t->block_cols;
  return (block){
      {sb_tiling_rows_of(t, i), sb_tiling_cols_of(t, j), m->bits ? m->bits[k] : 0, m->code_kind},
      {row * t->cols + col, t->cols, row_factors + row, col_factors + col}};
}

sb_status sb_cpu_trellis_transform(sb_backend *backend, sb_stream stream, float *s,
                                   uint16_t *row_factors, const sb_block_weights *m,
                                   size_t first_row, uint64_t row_key,
                                   const uint16_t *col_factors) {
  (void)stream;
  SB_TRY(sb_check_tiling("trellis_transform", m->tiling));
  const size_t blocks = sb_tiling_block_rows(m->tiling) * sb_tiling_block_cols(m->tiling);
  find_row_factors(backend, row_factors, m, first_row, row_key, col_factors);
#pragma omp parallel for num_threads(sb_cpu_threads(backend)) schedule(static)
  for (size_t k = 0; k < blocks; k++) {
    const block b = block_of(m, k, row_factors, col_factors);
    sb_cpu_trellis_transform_block(&b.shape, &(sb_cpu_trellis_source){m->w, m->dtype, b.at}, s);
  }
  return SB_OK;
}

/* A block that stays as it is. */
static void copy_block(const sb_block_weights *m, const block *b, void *out, sb_dtype out_dtype) {
  float room[SB_GROUP_MAX];
  const size_t size = sb_dtype_size(m->dtype), out_size = sb_dtype_size(out_dtype);
  for (size_t r = 0; r < b->shape.rows; r++) {
    const size_t at = b->at.first + r * b->at.ld;
    sb_cpu_to_f32(room, (const char *)m->w + at * size, m->dtype, b->shape.cols);
    sb_cpu_from_f32((char *)out + at * out_size, out_dtype, room, b->shape.cols);
  }
}

sb_status sb_cpu_trellis_quantize(sb_backend *backend, sb_stream stream, void *out,
                                  sb_dtype out_dtype, const sb_block_weights *m, uint64_t row_key,
                                  const uint16_t *col_factors) {
  (void)stream;
  const int threads = sb_cpu_threads(backend);
  const size_t blocks = sb_tiling_block_rows(m->tiling) * sb_tiling_block_cols(m->tiling);
  sb_trellis_coder *coders = NULL;
  uint16_t *row_factors;
  SB_TRY(check_kind("trellis_quantize", m));
  SB_TRY(sb_check_blocks("trellis_quantize", m->tiling, m->bits, 0));
  SB_TRY(sb_cpu_scratch(backend, SB_CPU_SLOT_SHARED, m->tiling->rows, sizeof *row_factors,
                        &row_factors));
  SB_TRY(sb_trellis_coders_create((size_t)threads, m->code_kind, m->bits, blocks, &coders));
  find_row_factors(backend, row_factors, m, 0, row_key, col_factors);
#pragma omp parallel for num_threads(threads) schedule(dynamic)
  for (size_t k = 0; k < blocks; k++) {
    const block b = block_of(m, k, row_factors, col_factors);
    if (b.shape.bits == 0)
      copy_block(m, &b, out, out_dtype);
    else
      sb_cpu_trellis_nearest(&b.shape, &(sb_cpu_trellis_source){m->w, m->dtype, b.at},
                             coders[omp_get_thread_num()].of[b.shape.bits], NULL, out, out_dtype);
  }
  sb_trellis_coders_free((size_t)threads, &coders);
  return SB_OK;
}
