/* unpack_blocks for trellis codes: what it hands on from cuda_unpack.cu to cuda_unpack_trellis.cu.
 * offsets_dev and bits_dev are the arguments of the operation, on the device. */
#ifndef SB_KERNELS_CUDA_CUDA_UNPACK_H
#define SB_KERNELS_CUDA_CUDA_UNPACK_H

#include "kernels/cuda/cuda.h"

sb_status sb_cuda_unpack_trellis(sb_backend *, cudaStream_t, void *out, sb_dtype out_dtype,
                                 const uint8_t *packed, const size_t *offsets_dev,
                                 const sb_tiling *, const uint8_t *bits_dev, sb_code_kind,
                                 const uint16_t *col_factors);

#endif
