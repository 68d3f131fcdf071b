/* Signs and Hadamard transforms on the device (shared/transform.h), with the same bits as on the
 * CPU: butterflies of stride 1, 2, 4, ..., then one product with the norm. Columns come before
 * rows. */
#ifndef SB_KERNELS_CUDA_CUDA_HADAMARD_CUH
#define SB_KERNELS_CUDA_CUDA_HADAMARD_CUH

#include "kernels/cuda/cuda_blocks.cuh"

extern "C" {
#include "kernels/shared/transform.h"
}

/* HADAMARD_EACH: numbers of a run in a lane. A tile is a run of rows by a run of columns, in the
 * dynamic shared memory of a thread block, with HADAMARD_SIDE floats from row to row: an odd
 * number, so that rows begin in different banks. */
constexpr int HADAMARD_SIDE = SB_HADAMARD_MOST + 1, HADAMARD_EACH = SB_HADAMARD_MOST / (int)SB_WARP,
              HADAMARD_THREADS = 512, HADAMARD_RADIX = 8;
constexpr size_t HADAMARD_ROOM = sizeof(float) * SB_HADAMARD_MOST * HADAMARD_SIDE;

/* Transforms a run of n numbers of a warp: x[e] of lane i is number 32 e + i, anything beyond n. */
__device__ __forceinline__ void hadamard_run(float (&x)[HADAMARD_EACH], int n) {
  const int lane = (int)threadIdx.x % SB_WARP;
  const float norm = sb_hadamard_norm((size_t)n);
#pragma unroll
  for (int stride = 1; stride < SB_WARP; stride *= 2) {
    if (stride >= n) break;
#pragma unroll
    for (int e = 0; e < HADAMARD_EACH; e++) {
      const float other = sb_warp_xor(x[e], stride);
      x[e] = lane & stride ? other - x[e] : x[e] + other;
    }
  }
#pragma unroll
  for (int stride = 1; stride < HADAMARD_EACH; stride *= 2) {
    if (stride * SB_WARP >= n) break;
#pragma unroll
    for (int e = 0; e < HADAMARD_EACH; e++)
      if ((e & stride) == 0) {
        const float low = x[e], high = x[e + stride];
        x[e] = low + high;
        x[e + stride] = low - high;
      }
  }
#pragma unroll
  for (int e = 0; e < HADAMARD_EACH; e++) x[e] = __fmul_rn(x[e], norm);
}

/* Transforms every row of a tile. All threads of the block call. */
__device__ __forceinline__ void hadamard_across(float *tile, int rows, int cols) {
  const int lane = (int)threadIdx.x % SB_WARP;
  for (int r = (int)threadIdx.x / SB_WARP; r < rows; r += (int)blockDim.x / SB_WARP) {
    float x[HADAMARD_EACH];
#pragma unroll
    for (int e = 0; e < HADAMARD_EACH; e++) {
      const int c = e * SB_WARP + lane;
      x[e] = c < cols ? tile[r * HADAMARD_SIDE + c] : 0.0f;
    }
    hadamard_run(x, cols);
#pragma unroll
    for (int e = 0; e < HADAMARD_EACH; e++) {
      const int c = e * SB_WARP + lane;
      if (c < cols) tile[r * HADAMARD_SIDE + c] = x[e];
    }
  }
}

/* Three strides at once, of a column's rows first, first + stride, ...: `ways` of them. */
__device__ __forceinline__ void hadamard_radix(float *column, int stride, int ways, float norm) {
  float x[HADAMARD_RADIX];
#pragma unroll
  for (int i = 0; i < HADAMARD_RADIX; i++)
    x[i] = i < ways ? column[i * stride * HADAMARD_SIDE] : 0.0f;
#pragma unroll
  for (int step = 1; step < HADAMARD_RADIX; step *= 2) {
    if (step >= ways) break;
#pragma unroll
    for (int i = 0; i < HADAMARD_RADIX; i++)
      if ((i & step) == 0) {
        const float low = x[i], high = x[i + step];
        x[i] = low + high;
        x[i + step] = low - high;
      }
  }
#pragma unroll
  for (int i = 0; i < HADAMARD_RADIX; i++)
    if (i < ways) column[i * stride * HADAMARD_SIDE] = __fmul_rn(x[i], norm);
}

/* Transforms every column of a tile. All threads of the block call. */
__device__ __forceinline__ void hadamard_down(float *tile, int rows, int cols) {
  for (int stride = 1; stride < rows; stride *= HADAMARD_RADIX) {
    const int ways = min(HADAMARD_RADIX, rows / stride);
    const float norm = stride * ways == rows ? sb_hadamard_norm((size_t)rows) : 1.0f;
    for (int item = (int)threadIdx.x; item < rows / ways * cols; item += (int)blockDim.x) {
      const int c = item % cols, g = item / cols;
      const int first = g / stride * stride * ways + g % stride;
      hadamard_radix(tile + first * HADAMARD_SIDE + c, stride, ways, norm);
    }
    __syncthreads();
  }
}

/* Calls fill(tile, row, rows, col, cols), then transforms the tile, then calls put(row, col, value)
 * for its numbers: for every tile of a block. Rows and columns count from the block's first. All
 * threads of the block call. */
template <typename Fill, typename Put>
__device__ __forceinline__ void hadamard_block(const cuda_block &b, Fill fill, Put put) {
  float *tile = (float *)sb_shared_bytes();
  for (int row = 0, rows; row < b.rows; row += rows) {
    rows = (int)sb_hadamard_run((size_t)(b.rows - row));
    for (int col = 0, cols; col < b.n; col += cols) {
      cols = (int)sb_hadamard_run((size_t)(b.n - col));
      fill(tile, row, rows, col, cols);
      __syncthreads();
      hadamard_across(tile, rows, cols);
      __syncthreads();
      hadamard_down(tile, rows, cols);
      for (int item = (int)threadIdx.x; item < rows * cols; item += (int)blockDim.x) {
        const int r = item / cols, c = item % cols;
        put(row + r, col + c, tile[r * HADAMARD_SIDE + c]);
      }
      __syncthreads();
    }
  }
}

/* A weight from its transformed block: the last step of the way back. */
__device__ __forceinline__ float hadamard_weight(float x, uint16_t row_factor,
                                                 uint16_t col_factor) {
  return __fmul_rn(__fmul_rn(x, sb_grid_from_fp16(row_factor)), sb_grid_from_fp16(col_factor));
}

/* A `fill` of numbers at from[r * ld + c], each times its factor. */
template <typename W, typename Factor>
__device__ __forceinline__ void hadamard_fill(float *tile, const W *from, size_t ld, int row,
                                              int rows, int col, int cols, Factor factor) {
  for (int item = (int)threadIdx.x; item < rows * cols; item += (int)blockDim.x) {
    const int r = item / cols, c = item % cols;
    tile[r * HADAMARD_SIDE + c] =
        factor(row + r, col + c, sb_number(from[(size_t)(row + r) * ld + (size_t)(col + c)]));
  }
}

#endif
