/* Estimates of the change of the loss if blocks had other widths, from weights and gradients.
 *
 * Host memory is not read after a call. g is the gradient of the weights, f32[rows,cols] with row
 * length ldg. Q_b(w) is w rounded to the nearest level at b bits. */
#ifndef SB_KERNELS_OPS_SCORES_H
#define SB_KERNELS_OPS_SCORES_H

#include "kernels/ops/blocks.h"
#include "kernels/ops/common.h"

#define SB_SCORES_OPS(OP)                                                                          \
  OP(block_moves)                                                                                  \
  OP(channel_scores)                                                                               \
  OP(group_products)                                                                               \
  OP(block_squares)                                                                                \
  OP(block_curvature)                                                                              \
  OP(block_energy)

/* For every block k of width b = bits[k] (double):
 *
 *   raise[k] = <g, Q_{b+1}(w) - Q_b(w)>, 0 if b + 1 > max_bits
 *   cut[k]   = <g, Q_{b-1}(w) - Q_b(w)>, 0 if b - 1 < min_bits
 *
 * One pass over g and w. grids: from move_grids for these weights and bits. */
typedef sb_status sb_block_moves_fn(sb_backend *, sb_stream, double *raise, double *cut,
                                    const float *g, size_t ldg, const sb_block_weights *,
                                    const sb_stored_grid *grids, unsigned min_bits,
                                    unsigned max_bits);
/* The cost of rounding per channel (double):
 *
 *   rows[i] = sum over j of s(i, j)
 *   cols[j] = sum over i of s(i, j)
 *
 * with s = (g d)^2, or |g d| if `absolute`, and d = Q_b(w) - w at the block's width b. One pass
 * over g and w. fits: as in quantize_blocks. */
typedef sb_status sb_channel_scores_fn(sb_backend *, sb_stream, double *rows, double *cols,
                                       const float *g, size_t ldg, const sb_block_weights *,
                                       const uint8_t *fits, bool absolute);
/* out[r * block columns + j] (f32) = the sum of g[r][c] w[r][c] over the columns c of block column
 * j. It is the derivative of the loss with respect to a common factor of the group's weights. */
typedef sb_status sb_group_products_fn(sb_backend *, sb_stream, float *out, const float *g,
                                       size_t ldg, const sb_block_weights *);
/* For every block k and every width b of min_bits .. max_bits,
 *
 *   loss[k][b] = sum over the block of g^2 (Q_b(w) - w)^2
 *
 * Other widths are left alone. grids: from choose_grids for these weights and widths. */
typedef sb_status sb_block_squares_fn(sb_backend *, sb_stream, double (*loss)[SB_WIDTHS],
                                      const float *g, size_t ldg, const sb_block_weights *,
                                      const sb_stored_grid *grids, unsigned min_bits,
                                      unsigned max_bits);
/* For every block of the `count` block rows from `first` on, and every width b of min_bits ..
 * max_bits; k counts these blocks from 0 in order:
 *
 *   loss[k][b] = sum over the block's rows r of row_weights[r] e_r H_j e_r'
 *   e_r        = row r of Q_b(w) - w
 *
 * Other widths are left alone. grams holds a full matrix H_j [n, n] per block column j of n
 * columns, from j * block_cols^2 on. Grids are fitted if importance f32[cols] is not NULL. */
typedef sb_status sb_block_curvature_fn(sb_backend *, sb_stream, double (*loss)[SB_WIDTHS],
                                        const sb_block_weights *, size_t first, size_t count,
                                        const float *grams, const float *row_weights,
                                        unsigned min_bits, unsigned max_bits,
                                        const float *importance);
/* For every block k (double), in the notation of ops/trellis.h:
 *
 *   energy[k] = v sum over the block of (a_r b_c g)^2
 *   b_c       = the column factor of column c; 1 where col_factors is NULL
 *   a_r       = the row's factor (shared/transform.h)
 *   v         = the mean of (w / (a_r b_c))^2 over the block, which is that of S^2
 *
 * The error of a trellis is white in transformed coordinates, and so its variance is a_r^2 b_c^2 v
 * D at element (r, c) of the block, with D from shared/trellis_error.h: the loss by squares of
 * gradients is `energy D` at every width. A pass over w and one over g. col_factors: fp16 [cols];
 * widths and kind of the weights are not read. */
typedef sb_status sb_block_energy_fn(sb_backend *, sb_stream, double *energy, const float *g,
                                     size_t ldg, const sb_block_weights *,
                                     const uint16_t *col_factors);

#endif
