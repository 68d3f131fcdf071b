/* The cost of rounding a block to each width, by second moments: the sum over its rows of
 *
 *   row_weight * e H e', e = Q_b(w) - w
 *
 * A thread block has a block of weights and takes 16 of its rows at a time. Their errors e at all
 * widths, up to 128 vectors, are the left side of a product with H in f32, tile by tile. Errors are
 * computed from weights and grids whenever they are needed: cheaper than to keep them. e H e' of a
 * vector is a sum in one order, and so is the sum over rows, in double. */
#include "kernels/cuda/cuda_blocks.cuh"

constexpr int ROWS = 16, VECTORS = ROWS * SB_MAX_BITS, SIDE = 64, STEP = 16,
              EACH = 8 /* vectors per thread */, ACROSS = 4;

/* Q(w) - w for vector m = row * widths + width; 0 outside. */
template <typename W>
__device__ __forceinline__ float error_of(const sb_grid *grids, const W *w, size_t ld, int m,
                                          int vectors, int widths, int column, int n) {
  if (m >= vectors || column >= n) return 0.0f;
  const float x = sb_number(w[(size_t)(m / widths) * ld + (size_t)column]);
  return sb_grid_value(&grids[m], sb_grid_code(&grids[m], x)) - x;
}

/* STEP rows of H from row k on, SIDE columns from `col` on; 0 outside. */
__device__ __forceinline__ void load_gram(float (&right)[STEP][SIDE], const float *gram, int k,
                                          int col, int n) {
  for (int item = (int)threadIdx.x; item < STEP * SIDE; item += BLOCK_THREADS) {
    const int row = k + item / SIDE, column = col + item % SIDE;
    right[item / SIDE][item % SIDE] =
        row < n && column < n ? gram[(size_t)row * (size_t)n + (size_t)column] : 0.0f;
  }
}

/* This thread's part of one step of the product: EACH vectors by ACROSS columns. */
__device__ __forceinline__ void add_step(float (&sum)[EACH][ACROSS],
                                         const float (&left)[STEP][VECTORS + 4],
                                         const float (&right)[STEP][SIDE], int half, int lane) {
#pragma unroll
  for (int p = 0; p < STEP; p++) {
    float y[ACROSS];
#pragma unroll
    for (int c = 0; c < ACROSS; c++) y[c] = right[p][c * GROUP_LANES + lane];
#pragma unroll
    for (int i = 0; i < EACH; i++) {
      const float x = left[p][half * EACH + i];
#pragma unroll
      for (int c = 0; c < ACROSS; c++) sum[i][c] = fmaf(x, y[c], sum[i][c]);
    }
  }
}

template <typename W>
__global__ void __launch_bounds__(BLOCK_THREADS)
    block_curvature(double (*loss)[SB_WIDTHS], const float *grams, const float *row_weights,
                    const W *w, sb_tiling tiling, size_t first_row, unsigned min_bits,
                    unsigned widths, sb_code_kind code_kind, const float *importance) {
  __shared__ sb_grid grids[VECTORS];
  __shared__ float left[STEP][VECTORS + 4], right[STEP][SIDE], dots[VECTORS];
  const cuda_block b =
      cuda_block_at(tiling, first_row * sb_tiling_block_cols(&tiling) + blockIdx.x);
  const int half = (int)threadIdx.x / GROUP_LANES, lane = (int)threadIdx.x % GROUP_LANES, n = b.n;
  const float *gram = grams + b.j * tiling.block_cols * tiling.block_cols;
  double total = 0.0; /* the cost at width min_bits + threadIdx.x */
  for (int first = 0; first < b.rows; first += ROWS) {
    const int rows = min(ROWS, b.rows - first), vectors = rows * (int)widths;
    const W *from = w + (b.row + (size_t)first) * tiling.cols + b.col;
    {
      const auto row = group_row_at<true>(from + (size_t)min(half, rows - 1) * tiling.cols, n);
      const sb_grid grid = grids_of_widths(row, importance ? importance + b.col : nullptr, min_bits,
                                           widths, code_kind);
      if (half < rows && (unsigned)lane < widths) grids[half * (int)widths + lane] = grid;
    }
    __syncthreads();
    float dot[EACH] = {}; /* e H e' of vectors half * EACH + i over this thread's columns */
    for (int col = 0; col < n; col += SIDE) {
      float sum[EACH][ACROSS] = {};
      for (int k = 0; k < n; k += STEP) {
        for (int item = (int)threadIdx.x; item < STEP * VECTORS; item += BLOCK_THREADS)
          left[item % STEP][item / STEP] = error_of(grids, from, tiling.cols, item / STEP, vectors,
                                                    (int)widths, k + item % STEP, n);
        load_gram(right, gram, k, col, n);
        __syncthreads();
        add_step(sum, left, right, half, lane);
        __syncthreads();
      }
#pragma unroll
      for (int i = 0; i < EACH; i++)
#pragma unroll
        for (int c = 0; c < ACROSS; c++)
          dot[i] = fmaf(sum[i][c],
                        error_of(grids, from, tiling.cols, half * EACH + i, vectors, (int)widths,
                                 col + c * GROUP_LANES + lane, n),
                        dot[i]);
    }
#pragma unroll
    for (int i = 0; i < EACH; i++) {
      const float all = group_sum(dot[i]);
      if (lane == 0) dots[half * EACH + i] = all;
    }
    __syncthreads();
    if (threadIdx.x < widths)
      for (int r = 0; r < rows; r++)
        total += (double)row_weights[b.row + (size_t)(first + r)] *
                 (double)dots[r * (int)widths + (int)threadIdx.x];
    __syncthreads();
  }
  if (threadIdx.x < widths) loss[blockIdx.x][min_bits + threadIdx.x] = total;
}

sb_status sb_cuda_block_curvature(sb_backend *backend, sb_stream stream, double (*loss)[SB_WIDTHS],
                                  const sb_block_weights *m, size_t first, size_t count,
                                  const float *grams, const float *row_weights, unsigned min_bits,
                                  unsigned max_bits, const float *importance) {
  const sb_tiling *tiling = m->tiling;
  SB_TRY(sb_check_block_rows("block_curvature", tiling, first, count));
  SB_TRY(sb_check_widths("block_curvature", tiling, min_bits, max_bits));
  const size_t blocks = count * sb_tiling_block_cols(tiling);
  if (blocks == 0) return SB_OK;
  return sb_with_number(m->dtype, "weights to score", [&](auto type) {
    typedef decltype(type) W;
    return sb_cuda_launch(backend, sb_cuda_stream(backend, stream), "block_curvature",
                          block_curvature<W>, (unsigned)blocks, BLOCK_THREADS, 0, loss, grams,
                          row_weights, (const W *)m->w, *tiling, first, min_bits,
                          max_bits - min_bits + 1, m->code_kind, importance);
  });
}
