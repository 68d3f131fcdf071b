/* Operands of the tensor cores' product (sb_mma_bf16 in warp.cuh) out of tiles in shared memory.
 *
 * A tile is rows of 16-bit numbers in shared memory, `stride` apart; a stride of 8 more than a multiple of 64 keeps the eight
 * rows that a load takes in different banks. An operand is read as it lies, or transposed on the way. */
#ifndef SB_KERNELS_CUDA_CUDA_FRAGMENT_CUH
#define SB_KERNELS_CUDA_CUDA_FRAGMENT_CUH

#include "kernels/cuda/warp.cuh"

/* Left operand, 16 x 16 at (row, k): the tile is [row][k]. */
__device__ __forceinline__ void fragment_left(uint32_t a[4], const uint16_t *tile, int stride, int row,
                                              int k) {
  const int lane = (int)threadIdx.x % 32;
  sb_load_matrix4(a, tile + (row + lane % 16) * stride + k + lane / 16 * 8);
}
/* The same where the tile is [k][row]. */
__device__ __forceinline__ void fragment_left_turned(uint32_t a[4], const uint16_t *tile, int stride, int row,
                                                     int k) {
  const int lane = (int)threadIdx.x % 32;
  sb_load_matrix4_transposed(a, tile + (k + lane / 16 * 8 + lane % 8) * stride + row + lane / 8 % 2 * 8);
}
/* Right operand, 16 x 16 at (k, column), b[0..1] its first 8 columns and b[2..3] the others: the tile is [k][column]. */
__device__ __forceinline__ void fragment_right(uint32_t b[4], const uint16_t *tile, int stride, int k,
                                               int column) {
  const int lane = (int)threadIdx.x % 32;
  sb_load_matrix4_transposed(b, tile + (k + lane % 16) * stride + column + lane / 16 * 8);
}
/* The same where the tile is [column][k]. */
__device__ __forceinline__ void fragment_right_turned(uint32_t b[4], const uint16_t *tile, int stride, int k,
                                                      int column) {
  const int lane = (int)threadIdx.x % 32;
  sb_load_matrix4(b, tile + (column + lane / 16 * 8 + lane % 8) * stride + k + lane / 8 % 2 * 8);
}

/* Sums of 16 rows x 16 columns, rounded to bf16, as a left operand. */
__device__ __forceinline__ void fragment_from_sums(uint32_t a[4], const float first[4],
                                                   const float second[4]) {
  a[0] = sb_bf16_pair(first[0], first[1]);
  a[1] = sb_bf16_pair(first[2], first[3]);
  a[2] = sb_bf16_pair(second[0], second[1]);
  a[3] = sb_bf16_pair(second[2], second[3]);
}

#endif
