#define sb_cpu_quantize_blocks     portable_quantize_blocks
#define sb_cpu_fit_blocks          portable_fit_blocks
#define sb_cpu_move_grids          portable_move_grids
#define sb_cpu_block_moves         portable_block_moves
#define sb_cpu_channel_scores      portable_channel_scores
#define sb_cpu_group_products      portable_group_products
#define sb_cpu_unpack_blocks       portable_unpack_blocks
#define sb_cpu_round_lowprec       portable_round_lowprec
#define sb_cpu_choose_grids        portable_choose_grids
#define sb_cpu_block_squares       portable_block_squares
#define sb_cpu_block_curvature     portable_block_curvature
#define sb_block_bytes             portable_block_bytes
#define sb_block_code_bytes        portable_block_code_bytes
#define sb_blockrow_map_bytes      portable_blockrow_map_bytes
#define sb_blockrow_bytes          portable_blockrow_bytes
#define sb_blockrow_parts          portable_blockrow_parts
#define sb_blockrow_range          portable_blockrow_range
#define sb_blockrow_choose         portable_blockrow_choose
#define sb_blockrow_pack           portable_blockrow_pack
#define sb_blockrow_encode         portable_blockrow_encode
#define sb_blockrow_is_valid       portable_blockrow_is_valid
#define sb_blockrow_read_bits      portable_blockrow_read_bits
#define sb_blockrow_decode         portable_blockrow_decode
#define sb_blockrow_unpack         portable_blockrow_unpack
#define sb_scale_at                portable_scale_at
#define sb_scale_put               portable_scale_put
#define sb_blockrow_scales         portable_blockrow_scales
#define sb_blockrow_has_bits       portable_blockrow_has_bits
#define sb_blockrow_encode_trellis portable_blockrow_encode_trellis
#define sb_matrix_overhead         portable_matrix_overhead
#define sb_alphabet_of             portable_alphabet_of
#define sb_alphabet_number         portable_alphabet_number
#define sb_alphabet_grid           portable_alphabet_grid
#define sb_alphabet_grid_choose    portable_alphabet_grid_choose

#include "kernels/alphabet.c"
#include "kernels/alphabet_grid.c"
#include "kernels/blockrow.c"
#define job         channels_job /* names that others have too */
#define score_row   channels_score_row
#define score_group channels_score_group
#include "kernels/cpu/cpu_channels.c"
#undef job
#undef score_row
#undef score_group
#define job grids_job
#include "kernels/cpu/cpu_grids.c"
#undef job
#include "kernels/cpu/cpu_curvature.c"
#include "kernels/cpu/cpu_fit.c"
#include "kernels/cpu/cpu_moves.c"
#include "kernels/cpu/cpu_products.c"
#include "kernels/cpu/cpu_quantize.c"
#include "kernels/cpu/cpu_round_lowprec.c"
#include "kernels/cpu/cpu_squares.c"
#include "kernels/cpu/cpu_unpack.c"
#include "tests/kernels/portable.h"
