/* The operation hadamard from one type to another, for operations that need it inside. */
#ifndef SB_KERNELS_CUDA_CUDA_HADAMARD_H
#define SB_KERNELS_CUDA_CUDA_HADAMARD_H

#include "kernels/cuda/cuda.h"

/* hadamard with a source of any weight type: dst f32 [T, n] = .., or += if `add`. */
sb_status sb_cuda_hadamard_into(sb_backend *, cudaStream_t, float *dst, const void *src,
                                sb_dtype dtype, size_t T, size_t n, size_t block,
                                const uint16_t *before, const uint16_t *after, bool add);

#endif
