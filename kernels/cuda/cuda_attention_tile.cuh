/* Shared by the tensor-core kernels of attention: heads as bf16, and their tiles in shared memory.
 *
 * A packed head is D = 64 or 128 wide, at least d, and T rounded up to whole tiles of 128 tokens
 * long. Columns from d on and rows from T on are zero, which adds nothing to any product. Results
 * for them are thrown away. */
#ifndef SB_KERNELS_CUDA_CUDA_ATTENTION_TILE_CUH
#define SB_KERNELS_CUDA_CUDA_ATTENTION_TILE_CUH

#include "kernels/cuda/cuda_attention_shape.h"
#include "kernels/cuda/cuda_fragment.cuh"

constexpr int ATTENTION_THREADS = 256, ATTENTION_TILE = 128; /* 8 warps with 16 rows each */
#define ATTENTION_LOG2E 1.4426950408889634f

/* Tokens of a packed head. */
__host__ __device__ static inline int attention_length(int T) {
  return (T + ATTENTION_TILE - 1) / ATTENTION_TILE * ATTENTION_TILE;
}

/* packed[heads][length][D] = x[T, heads * d], rounded. Grid: (pairs of columns, heads). */
template <int D> __global__ void attention_pack(uint16_t *packed, const float *x, int T, int d) {
  const unsigned pairs = (unsigned)attention_length(T) * (D / 2);
  const size_t row = (size_t)gridDim.y * (size_t)d;
  uint32_t *to = (uint32_t *)packed + (size_t)blockIdx.y * pairs;
  x += (size_t)blockIdx.y * (size_t)d;
  for (unsigned i = blockIdx.x * blockDim.x + threadIdx.x; i < pairs; i += gridDim.x * blockDim.x) {
    const int t = (int)(i / (D / 2)), column = (int)(i % (D / 2)) * 2;
    const float *from = x + (size_t)t * row + column;
    to[i] = sb_bf16_pair(t < T && column < d ? from[0] : 0.0f,
                         t < T && column + 1 < d ? from[1] : 0.0f);
  }
}

template <int D>
static inline sb_status attention_pack_launch(sb_backend *backend, cudaStream_t stream,
                                              uint16_t *packed, const float *x, int T, int heads,
                                              int d) {
  const size_t pairs = (size_t)attention_length(T) * (D / 2);
  return sb_cuda_launch(backend, stream, "attention", attention_pack<D>,
                        dim3(sb_cuda_blocks(pairs, SB_CUDA_THREADS, 1024), (unsigned)heads),
                        SB_CUDA_THREADS, 0, packed, x, T, d);
}

/* tile[rows][D + 8] = rows of a packed head, asynchronously. */
template <int D>
__device__ __forceinline__ void attention_load(uint16_t *tile, const uint16_t *packed, int rows) {
  for (int chunk = (int)threadIdx.x; chunk < rows * (D / 8); chunk += ATTENTION_THREADS) {
    const int row = chunk / (D / 8), column = chunk % (D / 8) * 8;
    sb_copy16(tile + row * (D + 8) + column, packed + row * D + column, 16);
  }
}

/* Stores two neighbouring columns of a row of d columns. */
__device__ __forceinline__ void attention_store(float *row, int column, int d, float first,
                                                float second) {
  if (column < d) row[column] = first;
  if (column + 1 < d) row[column + 1] = second;
}

#endif
