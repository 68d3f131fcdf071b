/* The block operations compiled with SB_PORTABLE_LANES, under other names. */
#ifndef SB_TESTS_KERNELS_PORTABLE_H
#define SB_TESTS_KERNELS_PORTABLE_H

#include "kernels/backend.h"

sb_status portable_quantize_blocks(sb_backend *, sb_stream, void *out, sb_dtype out_dtype,
                                   const void *w, sb_dtype w_dtype, const sb_tiling *,
                                   const uint8_t *bits, sb_symmetry, const uint8_t *fits);
sb_status portable_fit_blocks(sb_backend *, sb_stream, uint8_t *fits, const void *w,
                              sb_dtype w_dtype, const float *importance, const sb_tiling *,
                              const uint8_t *bits, sb_symmetry);
sb_status portable_move_grids(sb_backend *, sb_stream, sb_stored_grid *grids, const void *w,
                              sb_dtype w_dtype, const sb_tiling *, const uint8_t *bits, sb_symmetry,
                              const float *importance, const uint8_t *fits);
sb_status portable_block_moves(sb_backend *, sb_stream, double *raise, double *cut, const float *g,
                               size_t ldg, const void *w, sb_dtype w_dtype, const void *now,
                               sb_dtype now_dtype, const sb_stored_grid *grids, const sb_tiling *,
                               const uint8_t *bits, unsigned min_bits, unsigned max_bits,
                               sb_symmetry);
sb_status portable_channel_scores(sb_backend *, sb_stream, double *rows, double *cols,
                                  const float *g, size_t ldg, const void *w, sb_dtype w_dtype,
                                  const sb_tiling *, const uint8_t *bits, bool absolute,
                                  sb_symmetry, const uint8_t *fits);
sb_status portable_group_products(sb_backend *, sb_stream, float *out, const float *g, size_t ldg,
                                  const void *w, sb_dtype w_dtype, const sb_tiling *);
sb_status portable_choose_grids(sb_backend *, sb_stream, sb_stored_grid *grids, const void *w,
                                sb_dtype w_dtype, const sb_tiling *, unsigned min_bits,
                                unsigned max_bits, sb_symmetry, const float *importance);
sb_status portable_block_squares(sb_backend *, sb_stream, double (*loss)[SB_WIDTHS], const float *g,
                                 size_t ldg, const void *w, sb_dtype w_dtype,
                                 const sb_stored_grid *grids, const sb_tiling *, unsigned min_bits,
                                 unsigned max_bits);
sb_status portable_block_curvature(sb_backend *, sb_stream, double (*loss)[SB_WIDTHS],
                                   const float *grams, const float *row_weights, const void *w,
                                   sb_dtype w_dtype, const sb_tiling *, size_t first, size_t count,
                                   unsigned min_bits, unsigned max_bits, sb_symmetry,
                                   const float *importance);
sb_status portable_unpack_blocks(sb_backend *, sb_stream, void *out, sb_dtype out_dtype,
                                 const uint8_t *packed, const size_t *offsets, const sb_tiling *,
                                 const uint8_t *bits, sb_symmetry);
void portable_blockrow_encode(uint8_t *out, const void *w, sb_dtype w_dtype,
                              const sb_tiling *tiling, size_t i, const uint8_t *bits,
                              sb_symmetry symmetry, const float *importance);

#endif
