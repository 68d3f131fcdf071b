/* Sums and maxima over a warp or a block, in an order that only the shape decides: the same bits
 * every time. */
#ifndef SB_KERNELS_CUDA_REDUCE_CUH
#define SB_KERNELS_CUDA_REDUCE_CUH

#include "kernels/cuda/warp.cuh"

/* Sum and maximum over a warp; every lane gets the result. */
template <typename T> __device__ __forceinline__ T sb_warp_sum(T value) {
  for (int mask = 16; mask > 0; mask >>= 1) value += sb_warp_xor(value, mask);
  return value;
}
template <typename T> __device__ __forceinline__ T sb_warp_max(T value) {
  for (int mask = 16; mask > 0; mask >>= 1) {
    T other = sb_warp_xor(value, mask);
    value = other > value ? other : value;
  }
  return value;
}

/* Sum and maximum over a block of whole warps, at most 1024 threads. All threads call, and every
 * thread gets the result. `scratch` is shared memory for 32 values; it is free again on return. */
template <typename T> __device__ __forceinline__ T sb_block_sum(T value, T *scratch) {
  int warp = (int)threadIdx.x / 32, warps = (int)blockDim.x / 32;
  value = sb_warp_sum(value);
  if (threadIdx.x % 32 == 0) scratch[warp] = value;
  __syncthreads();
  T sum = scratch[0];
  for (int i = 1; i < warps; i++) sum += scratch[i];
  __syncthreads();
  return sum;
}
template <typename T> __device__ __forceinline__ T sb_block_max(T value, T *scratch) {
  int warp = (int)threadIdx.x / 32, warps = (int)blockDim.x / 32;
  value = sb_warp_max(value);
  if (threadIdx.x % 32 == 0) scratch[warp] = value;
  __syncthreads();
  T high = scratch[0];
  for (int i = 1; i < warps; i++) high = scratch[i] > high ? scratch[i] : high;
  __syncthreads();
  return high;
}

#endif
