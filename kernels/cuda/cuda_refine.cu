/* Coordinate descent over codes, scales and bases: kernels/ops/round.h has the method. One kernel
 * takes a block column of all rows, then one product carries the change into the residual. */
#include "kernels/cuda/cuda_stack.cuh"

extern "C" {
#include "kernels/shared/refine.h"
}

/* One row of a block: this lane's part of it. */
template <int PIECES> struct refine_row {
  float residual[GROUP_EACH * PIECES], change[GROUP_EACH * PIECES], code[GROUP_EACH * PIECES];
};

/* Changes the row's value in column k by d; a half warp with d = 0 changes nothing. */
template <int PIECES>
__device__ __forceinline__ void refine_add(refine_row<PIECES> &row, const stack_column &c, int k,
                                           float d) {
  [[maybe_unused]] constexpr int UNROLL = stack_unroll<PIECES>;
  const int lane = (int)threadIdx.x % GROUP_LANES;
  const float *h = c.square + (size_t)k * c.ld;
#pragma unroll UNROLL
  for (int q = 0; q < GROUP_EACH * PIECES; q++) {
    const int column = q * GROUP_LANES + lane;
    if (column == k) row.change[q] += d;
    if (column < c.n) row.residual[q] = fmaf(d, h[column], row.residual[q]);
  }
}

/* Moves the row by d along v. f(p) is the element of v for this lane's column p * 16 + lane. */
template <int PIECES, typename F>
__device__ __forceinline__ void refine_along(refine_row<PIECES> &row, const stack_column &c,
                                             float d, F f) {
  [[maybe_unused]] constexpr int UNROLL = stack_unroll<PIECES>;
  if (!sb_warp_ballot(d != 0.0f)) return;
#pragma unroll UNROLL
  for (int p = 0; p < GROUP_EACH * PIECES; p++)
#pragma unroll 1
    for (int i = 0; i < GROUP_LANES; i++) {
      const int k = p * GROUP_LANES + i;
      if (k >= c.n) break;
      refine_add(row, c, k, d * half_get(f(p), i));
    }
}

/* The best step along v; f as above. */
template <int PIECES, typename F>
__device__ __forceinline__ float refine_step(const refine_row<PIECES> &row, const stack_column &c,
                                             F f) {
  constexpr int EACH = GROUP_EACH * PIECES;
  [[maybe_unused]] constexpr int UNROLL = stack_unroll<PIECES>;
  const int lane = (int)threadIdx.x % GROUP_LANES;
  float along[EACH];
  double slope = 0.0, curvature = 0.0;
#pragma unroll UNROLL
  for (int q = 0; q < EACH; q++) along[q] = 0.0f;
#pragma unroll UNROLL
  for (int p = 0; p < EACH; p++)
#pragma unroll 1
    for (int i = 0; i < GROUP_LANES; i++) {
      const int k = p * GROUP_LANES + i;
      if (k >= c.n) break;
      const float v = half_get(f(p), i);
      const float *h = c.square + (size_t)k * c.ld;
#pragma unroll UNROLL
      for (int q = 0; q < EACH; q++) {
        const int column = q * GROUP_LANES + lane;
        if (column < c.n) along[q] = fmaf(v, h[column], along[q]);
      }
    }
#pragma unroll UNROLL
  for (int q = 0; q < EACH; q++) {
    if (q * GROUP_LANES + lane >= c.n) continue;
    curvature += (double)f(q) * (double)along[q];
    slope += (double)f(q) * (double)row.residual[q];
  }
  return sb_refine_step(group_sum(slope), group_sum(curvature));
}

/* One pass over a block column. A scale moves its row along codes minus center, a base along ones;
 * then codes follow one after another. change [rows, n] is added to Q. */
template <int PIECES>
static __global__ void __launch_bounds__(BLOCK_THREADS)
    refine_column(stack_dev s, float *change, const float *residual, stack_column c) {
  constexpr int EACH = GROUP_EACH * PIECES;
  [[maybe_unused]] constexpr int UNROLL = stack_unroll<PIECES>;
  const int lane = (int)threadIdx.x % GROUP_LANES;
  const stack_row at = stack_row_here(s.rows);
  const size_t group_at = c.j * s.rows + at.r, first = at.r * s.cols + c.first;
  const unsigned bits = s.bits[group_at];
  sb_grid grid = {};
  if (at.mine) grid = s.grids[group_at];
  refine_row<PIECES> row;
#pragma unroll UNROLL
  for (int p = 0; p < EACH; p++) {
    const int column = p * GROUP_LANES + lane;
    row.residual[p] = column < c.n ? residual[first + (size_t)column] : 0.0f;
    row.code[p] = at.mine && column < c.n ? (float)s.codes[first + (size_t)column] : 0.0f;
    row.change[p] = 0.0f;
  }

  const auto from_center = [&](int p) { return row.code[p] - grid.center; };
  const float scale = sb_refine_scale(&grid, refine_step(row, c, from_center), s.code_kind);
  refine_along(row, c, scale - grid.scale, from_center);
  grid = sb_grid_make(scale, grid.center, grid.base, bits);

  /* both halves of a warp take the path if either has a base */
  const bool has_base = sb_has_base(s.code_kind, bits);
  if (sb_warp_ballot(has_base)) {
    const auto one = [](int) { return 1.0f; };
    const float step = refine_step(row, c, one),
                base = has_base ? sb_refine_base(&grid, step, s.code_kind) : grid.base;
    refine_along(row, c, base - grid.base, one);
    grid.base = base;
  }

  /* codes one after another, since each change moves the best values of the others */
#pragma unroll UNROLL
  for (int p = 0; p < EACH; p++)
#pragma unroll 1
    for (int i = 0; i < GROUP_LANES; i++) {
      const int k = p * GROUP_LANES + i;
      if (k >= c.n) break;
      const float before = half_get(row.code[p], i), now = sb_grid_value(&grid, before);
      const float code = sb_grid_code(&grid, now - half_get(row.residual[p], i) /
                                                       c.square[(size_t)k * c.ld + (size_t)k]);
      if (!sb_warp_ballot(code != before)) continue;
      refine_add(row, c, k, code != before ? sb_grid_value(&grid, code) - now : 0.0f);
      if (lane == i) row.code[p] = code;
    }

  sb_warp_sync(); /* all lanes have read the group */
  if (!at.mine) return;
  if (lane == 0) s.grids[group_at] = grid;
#pragma unroll UNROLL
  for (int p = 0; p < EACH; p++) {
    const int column = p * GROUP_LANES + lane;
    if (column >= c.n) continue;
    s.codes[first + (size_t)column] = (uint8_t)row.code[p];
    change[at.r * (size_t)c.n + (size_t)column] = row.change[p];
  }
}

/* error [rows, n] = (Q - W) of the columns [begin, begin + n). */
static __global__ void __launch_bounds__(SB_CUDA_THREADS)
    errors_of(stack_dev s, float *error, const float *w, size_t begin, size_t n,
              size_t block_cols) {
  const size_t step = (size_t)gridDim.x * blockDim.x;
  for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < s.rows * n; i += step) {
    const size_t r = i / n, col = begin + i % n, at = r * s.cols + col;
    const sb_grid grid = s.grids[col / block_cols * s.rows + r];
    error[i] = sb_grid_value(&grid, (float)s.codes[at]) - w[at];
  }
}

/* residual += moves panel. moves [rows, n] are changes of n columns, panel [n, cols] their rows of
 * H. */
static sb_status add_moves(sb_backend *backend, cudaStream_t queue, const sb_stack *stack,
                           float *residual, const float *moves, size_t n, const float *panel) {
  const sb_gemm_args product = {.m = stack->rows,
                                .n = stack->cols,
                                .k = n,
                                .a = sb_view(moves, SB_F32, n),
                                .b = sb_view(panel, SB_F32, stack->cols),
                                .c = residual,
                                .c_dtype = SB_F32,
                                .ldc = stack->cols,
                                .add = true,
                                .type = SB_GEMM_F32,
                                .scale_a = nullptr,
                                .scale_b = nullptr};
  return sb_cuda_add_product(backend, queue, &product, 1.0f);
}

sb_status sb_cuda_refine_residual(sb_backend *backend, sb_stream stream, const sb_stack *stack,
                                  float *residual, const float *w, size_t begin, size_t end,
                                  const float *panel) {
  const cudaStream_t queue = sb_cuda_stream(backend, stream);
  float *error; /* of a block column at a time, as refine_columns has its changes */
  if (stack->rows == 0) return SB_OK;
  SB_TRY(
      stack_begin(backend, queue, "refine_residual", stack, begin, end, stack->block_cols, &error));
  for (size_t first = begin; first < end; first += stack->block_cols) {
    const size_t n = sb_min_size(stack->block_cols, stack->cols - first);
    SB_TRY(sb_cuda_launch(backend, queue, "refine_residual", errors_of,
                          sb_cuda_blocks_for(backend, stack->rows * n), SB_CUDA_THREADS, 0,
                          stack_dev_of(stack), error, w, first, n, stack->block_cols));
    SB_TRY(add_moves(backend, queue, stack, residual, error, n,
                     panel + (first - begin) * stack->cols));
  }
  return SB_OK;
}

sb_status sb_cuda_refine_columns(sb_backend *backend, sb_stream stream, const sb_stack *stack,
                                 float *residual, size_t begin, size_t end, const float *panel) {
  const cudaStream_t queue = sb_cuda_stream(backend, stream);
  const size_t cols = stack->cols;
  float *change;
  if (stack->rows == 0) return SB_OK;
  SB_TRY(
      stack_begin(backend, queue, "refine_columns", stack, begin, end, stack->block_cols, &change));
  for (size_t first = begin; first < end; first += stack->block_cols) {
    const size_t n = sb_min_size(stack->block_cols, cols - first);
    const float *below = panel + (first - begin) * cols;
    const stack_column column = {first / stack->block_cols, first, (int)n, below + first, cols};
    SB_TRY(sb_cuda_launch(backend, queue, "refine_columns",
                          n > GROUP_PIECE ? refine_column<STACK_PIECES> : refine_column<1>,
                          stack_blocks(stack), BLOCK_THREADS, 0, stack_dev_of(stack), change,
                          (const float *)residual, column));
    SB_TRY(add_moves(backend, queue, stack, residual, change, n, below));
  }
  return SB_OK;
}
