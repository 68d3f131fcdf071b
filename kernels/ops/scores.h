/* How the loss would change if blocks had other widths, from weights and their gradients.
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
  OP(block_curvature)

/* For every block k at b = bits[k]: raise[k] = <g, Q_{b+1}(w) - Q_b(w)>, cut[k] = <g, Q_{b-1}(w) -
 * Q_b(w)> (double); 0 where b+1 > max_bits or b-1 < min_bits. One pass over g and w. grids: from
 * move_grids for these weights and bits. */
typedef sb_status sb_block_moves_fn(sb_backend *, sb_stream, double *raise, double *cut,
                                    const float *g, size_t ldg, const sb_block_weights *,
                                    const sb_stored_grid *grids, unsigned min_bits,
                                    unsigned max_bits);
/* What rounding costs per channel: rows[i] = sum over j of s(i, j), cols[j] = sum over i of s(i, j)
 * (double), with s = (g d)^2, or |g d| where `absolute`, and d = Q_b(w) - w at the block's width b.
 * One pass over g and w. fits: as in quantize_blocks. */
typedef sb_status sb_channel_scores_fn(sb_backend *, sb_stream, double *rows, double *cols,
                                       const float *g, size_t ldg, const sb_block_weights *,
                                       const uint8_t *fits, bool absolute);
/* out[r * block columns + j] (f32) = the sum of g[r][c] w[r][c] over the columns c of block column
 * j: the derivative of the loss by a common factor of the group's weights. */
typedef sb_status sb_group_products_fn(sb_backend *, sb_stream, float *out, const float *g,
                                       size_t ldg, const sb_block_weights *);
/* For every block k and every width b of min_bits .. max_bits: loss[k][b] = the sum of g^2 (Q_b(w)
 * - w)^2 over the block; other widths are left alone. grids: from choose_grids for these weights
 * and widths. */
typedef sb_status sb_block_squares_fn(sb_backend *, sb_stream, double (*loss)[SB_WIDTHS],
                                      const float *g, size_t ldg, const sb_block_weights *,
                                      const sb_stored_grid *grids, unsigned min_bits,
                                      unsigned max_bits);
/* For the `count` block rows from `first` on, in order, and every width b of min_bits .. max_bits:
 * loss[k][b] = the sum of row_weights[r] e_r H_j e_r' over the block's rows r, with e_r = (Q_b(w) -
 * w)_r; other widths are left alone. grams holds the H_j [n, n], n the columns of block column j,
 * in full and one after another, H_j from j * block_cols^2 on. Grids are fitted where importance
 * f32[cols] is not NULL. */
typedef sb_status sb_block_curvature_fn(sb_backend *, sb_stream, double (*loss)[SB_WIDTHS],
                                        const sb_block_weights *, size_t first, size_t count,
                                        const float *grams, const float *row_weights,
                                        unsigned min_bits, unsigned max_bits,
                                        const float *importance);

#endif
