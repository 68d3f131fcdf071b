/* Matrices in packed block rows on grids, and their weights read bit by bit from the description in
 * kernels/blockrow.h. */
#ifndef SB_TESTS_KERNELS_PACKED_CASE_H
#define SB_TESTS_KERNELS_PACKED_CASE_H

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/dtype.h"
#include "kernels/blockrow.h"
#include "tests/kernels/check.h"
#include "tests/kernels/scale_by_hand.h"

typedef struct packed_case {
  sb_tiling tiling;
  sb_code_kind code_kind;
  uint8_t *bits, *packed;
  size_t *offsets;
  double *w, *size; /* weights, and what rounding is measured by: |w| + |value of code 0| */
} packed_case;

/* One block into its place; returns its bytes. `head` begins its block row. */
static inline size_t read_block(const packed_case *c, const uint8_t *head, const uint8_t *block,
                                size_t row, size_t rows, size_t col, size_t cols, unsigned b) {
  const uint8_t *zeros = block + scale_bytes(rows, c->code_kind), *codes = zeros;
  const size_t columns = sb_tiling_block_cols(&c->tiling), j = col / c->tiling.block_cols;
  const bool asymmetric = c->code_kind == SB_GRID_ASYMMETRIC ||
                          c->code_kind == SB_GRID_ASYMMETRIC_BF16 ||
                          c->code_kind == SB_GRID_ASYMMETRIC_6BIT,
             by_width = c->code_kind == SB_GRID_BY_WIDTH || c->code_kind == SB_GRID_BY_WIDTH_BF16,
             symmetric = c->code_kind == SB_GRID_SYMMETRIC ||
                         c->code_kind == SB_GRID_SYMMETRIC_BF16 ||
                         c->code_kind == SB_GRID_SYMMETRIC_6BIT || (by_width && b <= 2);
  if (asymmetric) codes += b == 1 ? 2 * rows : (rows * b + 7) / 8;
  const size_t stride = (cols * b + 7) / 8;
  for (size_t r = 0; r < rows; r++) {
    const double scale = scale_by_hand(head, columns, j, block, r, c->code_kind);
    double center = asymmetric || symmetric ? 0.5 * ((1 << b) - 1) : 1 << (b - 1), base = 0.0;
    if (asymmetric && b == 1) base = half_at(zeros, r);
    if (asymmetric && b > 1) center = bits_at(zeros, r, b);
    for (size_t k = 0; k < cols; k++) {
      const size_t at = (row + r) * c->tiling.cols + col + k;
      c->w[at] = (bits_at(codes + r * stride, k, b) - center) * scale + base;
      c->size[at] = fabs(c->w[at]) + fabs(base - center * scale);
    }
  }
  return (size_t)(codes - block) + rows * stride;
}

/* Weights of which some rows are 0 and some far from it, packed with 3 bytes between block rows and
 * none to spare. */
static inline void make_case(packed_case *c, const uint8_t *widths, size_t width_count,
                             uint64_t seed) {
  const sb_tiling *g = &c->tiling;
  const size_t rows = sb_tiling_block_rows(g), columns = sb_tiling_block_cols(g);
  float *w = check_random(g->rows * g->cols, 1.0f, seed);
  for (size_t i = 0; i < g->rows * g->cols; i++)
    w[i] = i / g->cols % 13 == 5 ? 0.0f : w[i] * 0.05f + (i / g->cols % 7 == 3 ? 0.2f : 0.0f);
  c->bits = (uint8_t *)check_zeros(rows * columns);
  c->offsets = (size_t *)check_zeros(2 * rows);
  c->w = check_double_zeros(g->rows * g->cols);
  c->size = check_double_zeros(g->rows * g->cols);
  size_t bytes = 0;
  for (size_t k = 0; k < rows * columns; k++)
    c->bits[k] = widths[(k * 7 + k / columns * 3) % width_count];
  for (size_t i = 0; i < rows; i++) {
    c->offsets[i] = bytes + 3 * i;
    bytes += sb_blockrow_bytes(g, i, c->bits + i * columns, c->code_kind);
  }
  c->packed = malloc(bytes + 3 * (rows - 1));
  assert_non_null(c->packed);
  for (size_t i = 0; i < rows; i++) {
    uint8_t *at = c->packed + c->offsets[i];
    sb_blockrow_encode(at, w + i * g->block_rows * g->cols, SB_F32, g, i, c->bits + i * columns,
                       c->code_kind, NULL);
    const uint8_t *head = at;
    at += head_bytes(columns, c->code_kind);
    for (size_t j = 0; j < columns; j++)
      at += read_block(c, head, at, i * g->block_rows, sb_tiling_rows_of(g, i), j * g->block_cols,
                       sb_tiling_cols_of(g, j), c->bits[i * columns + j]);
  }
}

#endif
