/* Parts of operations on trellis codes that others use: the way back from their coordinates, and
 * the scales of blocks. */
#ifndef SB_KERNELS_CUDA_CUDA_TRANSFORM_H
#define SB_KERNELS_CUDA_CUDA_TRANSFORM_H

#include "kernels/cuda/cuda_viterbi.h"

/* out [rows, cols] (out_dtype) = the matrix of s f32 [rows, cols], back from transformed
 * coordinates; blocks of width 0 are copies of w. bits_dev [blocks]: the widths, on the device. */
sb_status sb_cuda_trellis_restore(sb_backend *, cudaStream_t, void *out, sb_dtype out_dtype,
                                  const float *s, const sb_block_weights *w,
                                  const uint8_t *bits_dev, const uint16_t *row_factors,
                                  const uint16_t *col_factors);

/* Sets the scales of blocks [count] in device memory, of a matrix s f32 with rows of ld numbers:
 * from the mean square of each (shared/trellis_scale.h), for rounding to nearest or with feedback
 * (trellis_round). */
sb_status sb_cuda_trellis_scales(sb_backend *, cudaStream_t, viterbi_block *blocks, size_t count,
                                 const float *s, size_t ld, sb_code_kind, bool feedback);

#endif
