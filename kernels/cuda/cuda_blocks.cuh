/* Shared by the block operations on the device: the block of a thread block, its rows, and sums
 * down a block. */
#ifndef SB_KERNELS_CUDA_CUDA_BLOCKS_CUH
#define SB_KERNELS_CUDA_CUDA_BLOCKS_CUH

#include "kernels/cuda/cuda_group.cuh"

extern "C" {
#include "kernels/shared/checks.h"
}

constexpr int BLOCK_THREADS = 256, BLOCK_HALVES = BLOCK_THREADS / GROUP_LANES;

/* Block k of a matrix: block row i, block column j. */
typedef struct cuda_block {
  size_t k, i, j;
  size_t row, col; /* position of its first weight in the matrix */
  int rows, n;     /* its rows, its columns */
} cuda_block;

__device__ __forceinline__ cuda_block cuda_block_at(const sb_tiling &tiling, size_t k) {
  const size_t columns = sb_tiling_block_cols(&tiling);
  cuda_block b;
  b.k = k;
  b.i = k / columns;
  b.j = k % columns;
  b.row = b.i * tiling.block_rows;
  b.col = b.j * tiling.block_cols;
  b.rows = (int)sb_tiling_rows_of(&tiling, b.i);
  b.n = (int)sb_tiling_cols_of(&tiling, b.j);
  return b;
}

static inline size_t sb_cuda_block_count(const sb_tiling *tiling) {
  return sb_tiling_block_rows(tiling) * sb_tiling_block_cols(tiling);
}

/* Calls f(row, r, keep) for each row of the block, one half warp per row; r is its number in the
 * matrix. Both halves of a warp must keep step. So a half beyond the last row repeats it, with
 * `keep` false: f must drop its results then. */
template <bool MORE, typename W, typename F>
__device__ __forceinline__ void block_rows(const W *w, const sb_tiling &tiling, const cuda_block &b,
                                           F f) {
  const int half = (int)threadIdx.x / GROUP_LANES;
  for (int first = 0; first < b.rows; first += BLOCK_HALVES) {
    const size_t r = b.row + (size_t)min(first + half, b.rows - 1);
    f(group_row_at<MORE>(w + r * tiling.cols + b.col, b.n), r, first + half < b.rows);
  }
}

/* True if groups are wider than a piece. */
static inline bool sb_cuda_has_pieces(const sb_tiling *tiling) {
  return sb_min_size(tiling->block_cols, tiling->cols) > (size_t)GROUP_PIECE;
}

/* Sums of COUNT x 16 lanes down a block, in double and in the order of rows. For every tile of
 * BLOCK_TILE rows, each half warp leaves the float sums of its rows in
 *
 *   room[row in tile][16 * sum + lane]
 *
 * Then thread t adds up column t. All threads of the block call; the first COUNT * 16 have a
 * column.
 */
constexpr int BLOCK_TILE = 2 * BLOCK_HALVES;
template <int COUNT>
__device__ __forceinline__ void add_down(double &total, const float (*room)[COUNT * GROUP_LANES],
                                         int rows) {
  __syncthreads();
  if (threadIdx.x < COUNT * GROUP_LANES)
    for (int r = 0; r < rows; r++) total += (double)room[r][threadIdx.x];
  __syncthreads();
}

#endif
