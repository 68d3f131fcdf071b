/* Loads operands of sb_mma_bf16 (warp.cuh) from tiles in shared memory.
 *
 * A tile has rows of 16-bit numbers, `stride` apart. A load takes eight rows; a stride of 8 more
 * than a multiple of 64 keeps them in different banks. Functions called `turned` take a tile that
 * holds the transpose of the operand. */
#ifndef SB_KERNELS_CUDA_CUDA_FRAGMENT_CUH
#define SB_KERNELS_CUDA_CUDA_FRAGMENT_CUH

#include "kernels/cuda/warp.cuh"

/* Left operand, 16 x 16 at (row, k): the tile is [row][k]. */
__device__ __forceinline__ void fragment_left(uint32_t a[4], const uint16_t *tile, int stride,
                                              int row, int k) {
  const int lane = (int)threadIdx.x % 32;
  sb_load_matrix4(a, tile + (row + lane % 16) * stride + k + lane / 16 * 8);
}
/* The same where the tile is [k][row]. */
__device__ __forceinline__ void fragment_left_turned(uint32_t a[4], const uint16_t *tile,
                                                     int stride, int row, int k) {
  const int lane = (int)threadIdx.x % 32;
  sb_load_matrix4_transposed(a, tile + (k + lane / 16 * 8 + lane % 8) * stride + row +
                                    lane / 8 % 2 * 8);
}
/* Right operand, 16 x 16 at (k, column), b[0..1] its first 8 columns and b[2..3] the others: the
 * tile is [k][column]. */
__device__ __forceinline__ void fragment_right(uint32_t b[4], const uint16_t *tile, int stride,
                                               int k, int column) {
  const int lane = (int)threadIdx.x % 32;
  sb_load_matrix4_transposed(b, tile + (k + lane % 16) * stride + column + lane / 16 * 8);
}
/* The same where the tile is [column][k]. */
__device__ __forceinline__ void fragment_right_turned(uint32_t b[4], const uint16_t *tile,
                                                      int stride, int k, int column) {
  const int lane = (int)threadIdx.x % 32;
  sb_load_matrix4(b, tile + (column + lane / 16 * 8 + lane % 8) * stride + k + lane / 8 % 2 * 8);
}

/* Makes a left operand of sums of 16 rows x 16 columns, rounded to bf16. */
__device__ __forceinline__ void fragment_from_sums(uint32_t a[4], const float first[4],
                                                   const float second[4]) {
  a[0] = sb_bf16_pair(first[0], first[1]);
  a[1] = sb_bf16_pair(first[2], first[3]);
  a[2] = sb_bf16_pair(second[0], second[1]);
  a[3] = sb_bf16_pair(second[2], second[3]);
}

/* sum [16, N] += rows [row, row + 16) of left [.., K] times the transpose of right [N, K], both
 * tiles. sum[n] holds the columns 8 n .. 8 n + 7, as sb_mma_bf16 has them. */
template <int K, int N>
__device__ __forceinline__ void add_product_turned(float (*sum)[4], const uint16_t *left, int row,
                                                   const uint16_t *right, int stride) {
#pragma unroll
  for (int c = 0; c < K; c += 16) {
    uint32_t a[4];
    fragment_left(a, left, stride, row, c);
#pragma unroll
    for (int n = 0; n < N; n += 16) {
      uint32_t b[4];
      fragment_right_turned(b, right, stride, c, n);
      sb_mma_bf16(sum[n / 8], a, b);
      sb_mma_bf16(sum[n / 8 + 1], a, b + 2);
    }
  }
}
/* sum [16, N] += p [16, K] times right [K, N]. Rounds p, which are sums, to bf16; right is a tile.
 */
template <int K, int N>
__device__ __forceinline__ void add_product_of_sums(float (*sum)[4], const float (*p)[4],
                                                    const uint16_t *right, int stride) {
#pragma unroll
  for (int n = 0; n < K; n += 16) {
    uint32_t a[4];
    fragment_from_sums(a, p[n / 8], p[n / 8 + 1]);
#pragma unroll
    for (int c = 0; c < N; c += 16) {
      uint32_t b[4];
      fragment_right(b, right, stride, n, c);
      sb_mma_bf16(sum[c / 8], a, b);
      sb_mma_bf16(sum[c / 8 + 1], a, b + 2);
    }
  }
}

#endif
