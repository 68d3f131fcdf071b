#include "kernels/cuda/cuda.h"

/* A block takes whole rows; neighbouring threads take neighbouring columns of the result. */
template <typename T>
static __global__ void __launch_bounds__(SB_CUDA_THREADS)
    gather(T *dst, const T *src, size_t rows, size_t cols, const uint32_t *row_from,
           const uint32_t *col_from) {
  for (size_t i = blockIdx.x; i < rows; i += gridDim.x) {
    const T *from = src + (row_from ? row_from[i] : i) * cols;
    for (size_t j = threadIdx.x; j < cols; j += blockDim.x)
      dst[i * cols + j] = from[col_from ? col_from[j] : j];
  }
}

sb_status sb_cuda_gather_matrix(sb_backend *backend, sb_stream stream, void *dst, const void *src,
                                sb_dtype dtype, size_t rows, size_t cols, const uint32_t *row_from,
                                const uint32_t *col_from) {
  if (!sb_dtype_is_weight(dtype))
    return sb_fail(SB_ERR_INTERNAL, "gather_matrix: elements of type %s", sb_dtype_name(dtype));
  if (rows == 0 || cols == 0) return SB_OK;
  const cudaStream_t queue = sb_cuda_stream(backend, stream);
  const unsigned blocks = sb_cuda_blocks(rows, 1, 1u << 16);
  if (sb_dtype_size(dtype) == sizeof(uint16_t))
    return sb_cuda_launch(backend, queue, "gather_matrix", gather<uint16_t>, blocks,
                          SB_CUDA_THREADS, 0, (uint16_t *)dst, (const uint16_t *)src, rows, cols,
                          row_from, col_from);
  return sb_cuda_launch(backend, queue, "gather_matrix", gather<uint32_t>, blocks, SB_CUDA_THREADS,
                        0, (uint32_t *)dst, (const uint32_t *)src, rows, cols, row_from, col_from);
}
