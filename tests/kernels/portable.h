/* The block operations compiled with SB_PORTABLE_LANES, under other names. */
#ifndef SB_TESTS_KERNELS_PORTABLE_H
#define SB_TESTS_KERNELS_PORTABLE_H

#include "kernels/backend.h"
#include "kernels/cpu/cpu_transform.h"

sb_quantize_blocks_fn portable_quantize_blocks;
sb_fit_blocks_fn portable_fit_blocks;
sb_move_grids_fn portable_move_grids;
sb_block_moves_fn portable_block_moves;
sb_channel_scores_fn portable_channel_scores;
sb_group_products_fn portable_group_products;
sb_choose_grids_fn portable_choose_grids;
sb_block_squares_fn portable_block_squares;
sb_block_curvature_fn portable_block_curvature;
sb_unpack_blocks_fn portable_unpack_blocks;
sb_round_lowprec_fn portable_round_lowprec;
void portable_blockrow_encode(uint8_t *out, const void *w, sb_dtype w_dtype,
                              const sb_tiling *tiling, size_t i, const uint8_t *bits,
                              sb_code_kind code_kind, const float *importance);

void portable_hadamard_runs(float *x, size_t n);
void portable_patch_forward(sb_cpu_patch *, const void *w, sb_dtype dtype,
                            const sb_cpu_patch_place *);
void portable_patch_back(sb_cpu_patch *, void *out, sb_dtype dtype, const sb_cpu_patch_place *);
double portable_patch_squares(const sb_cpu_patch *);
double portable_row_squares(const void *w, sb_dtype dtype, size_t first, size_t n,
                            const uint16_t *col_factors);

#endif
