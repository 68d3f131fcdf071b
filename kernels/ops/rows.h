/* Sums over the rows of matrices, of products of differences: what errors and their effects are
 * measured by. */
#ifndef SB_KERNELS_OPS_ROWS_H
#define SB_KERNELS_OPS_ROWS_H

#include "kernels/ops/common.h"

#define SB_ROWS_OPS(OP) OP(row_products)

enum { SB_ROW_TERMS = 3, SB_ROW_PAIRS = 4 };

/* A term is plus - minus, both f32 [rows, cols]; minus may be NULL for 0. */
typedef struct sb_row_term {
  const float *plus, *minus;
} sb_row_term;

typedef struct sb_row_products_args {
  size_t rows, cols;
  size_t term_count, pair_count;
  sb_row_term terms[SB_ROW_TERMS];
  uint8_t pairs[SB_ROW_PAIRS][2]; /* two terms each, which may be the same */
  const float *weight;            /* [cols]; NULL: 1 */
  double *out;                    /* [pair_count, rows] */
} sb_row_products_args;

/* out[p, r] = sum over c of weight[c] d_i[r, c] d_j[r, c], where i and j are the terms of pair p
 * and d_i is term i. Differences and products are rounded to f32; sums are made in double.
 * O(rows cols). */
typedef sb_status sb_row_products_fn(sb_backend *, sb_stream, const sb_row_products_args *args);

#endif
