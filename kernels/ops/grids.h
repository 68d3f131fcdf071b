/* Grids of blocks (shared/grid.h), and rounding to the nearest level.
 *
 * Host memory is not read after a call. The group of row r in block column j has the number
 * r * block columns + j. */
#ifndef SB_KERNELS_OPS_GRIDS_H
#define SB_KERNELS_OPS_GRIDS_H

#include "kernels/ops/blocks.h"
#include "kernels/ops/common.h"

#define SB_GRIDS_OPS(OP)                                                                           \
  OP(fit_blocks)                                                                                   \
  OP(quantize_blocks)                                                                              \
  OP(move_grids)                                                                                   \
  OP(choose_grids)                                                                                 \
  OP(unpack_blocks)

/* fits[group] = the fit of each group at its block's width; 0 in unquantized blocks. importance is
 * f32[cols]. */
typedef sb_status sb_fit_blocks_fn(sb_backend *, sb_stream, uint8_t *fits, const sb_block_weights *,
                                   const float *importance);
/* out[rows,cols] (out_dtype) = Q_b(w), each block at its width b. Unquantized blocks are copied.
 * fits: from fit_blocks, or NULL for plain grids. */
typedef sb_status sb_quantize_blocks_fn(sb_backend *, sb_stream, void *out, sb_dtype out_dtype,
                                        const sb_block_weights *, const uint8_t *fits);
/* grids[SB_MOVES * group + i] = the grid of the group at its block's width b and next to it:
 *
 *   i = 0: b - 1 bits      i = 1: b bits      i = 2: b + 1 bits
 *
 * Entries for widths outside 1 .. 8, and all entries of unquantized blocks, are left alone. Grids
 * are fitted if importance f32[cols] and fits, from fit_blocks, are not NULL. */
typedef sb_status sb_move_grids_fn(sb_backend *, sb_stream, sb_stored_grid *grids,
                                   const sb_block_weights *, const float *importance,
                                   const uint8_t *fits);
/* grids[group * widths + b - min_bits] = the grid at each width b of min_bits .. max_bits, which
 * are `widths` widths. Grids are fitted if importance f32[cols] is not NULL. */
typedef sb_status sb_choose_grids_fn(sb_backend *, sb_stream, sb_stored_grid *grids,
                                     const sb_block_weights *, unsigned min_bits, unsigned max_bits,
                                     const float *importance);
/* out[rows,cols] (out_dtype) = the decoded weights of packed block rows (kernels/blockrow.h), in
 * their stored order. Host: offsets[i], the byte offset of block row i in `packed`; bits[blocks],
 * the widths. col_factors: of a matrix in trellis codes, fp16 [cols]; NULL on grids. */
typedef sb_status sb_unpack_blocks_fn(sb_backend *, sb_stream, void *out, sb_dtype out_dtype,
                                      const uint8_t *packed, const size_t *offsets,
                                      const sb_tiling *, const uint8_t *bits, sb_code_kind,
                                      const uint16_t *col_factors);

#endif
