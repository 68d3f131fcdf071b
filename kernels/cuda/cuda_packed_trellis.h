/* The part on the tensor cores of a product with packed trellis codes (cuda_packed_factors.cu has
 * the others): the product with the codes, between transforms. */
#ifndef SB_KERNELS_CUDA_CUDA_PACKED_TRELLIS_H
#define SB_KERNELS_CUDA_CUDA_PACKED_TRELLIS_H

#include "kernels/cuda/cuda_packed.h"

enum { SB_CUDA_TRELLIS_TOKENS = 16 }; /* most tokens per launch on the tensor cores */

/* Bytes from one pair of tiles, one under the other, to the next in shared memory, at K bits. */
template <int K> constexpr int TRELLIS_PITCH = 64 * K + 16;

/* The middle step on the tensor cores: z [T, rows] = x [T, cols] S'. parts: room for [segments,
 * most tokens per launch, side]. */
sb_status sb_cuda_packed_trellis_tiles(sb_backend *, cudaStream_t, const struct sb_packed_impl *,
                                       float *z, const float *x, size_t T, float *parts);

#endif
