/* Error-compensated rounding: kernels/ops/round.h has the method. One kernel rounds a block column
 * of all rows, then one product corrects the columns behind it. */
#include "kernels/cuda/cuda_stack.cuh"

/* Rounds a block column. The columns behind it must make good error [rows, n]. Inside the block
 * each column waits for the one before, so a row's weights stay in registers. */
template <int PIECES>
static __global__ void __launch_bounds__(BLOCK_THREADS)
    round_column(stack_dev s, float *error, const float *w, stack_column c, bool fitted) {
  constexpr int EACH = GROUP_EACH * PIECES;
  [[maybe_unused]] constexpr int UNROLL = stack_unroll<PIECES>;
  __shared__ float importance[SB_GROUP_MAX];
  const int lane = (int)threadIdx.x % GROUP_LANES;
  const stack_row at = stack_row_here(s.rows);
  const size_t group_at = c.j * s.rows + at.r;
  const unsigned bits = s.bits[group_at];
  for (int k = (int)threadIdx.x; k < c.n; k += BLOCK_THREADS) {
    const float u = c.square[(size_t)k * c.ld + (size_t)k];
    importance[k] = 1.0f / (u * u);
  }
  __syncthreads();

  const auto row = group_row_at<(PIECES > 1)>(w + at.r * s.cols + c.first, c.n);
  /* the halves of a warp may differ in width: both take one path */
  const sb_group_range range = group_range(row, true, true, s.code_kind);
  const unsigned found = fitted ? group_fit(row, importance, bits > 1 ? bits : 2, s.code_kind) : 0;
  const sb_grid grid = sb_grid_fitted(&range, bits, s.code_kind, bits > 1 ? found : 0);
  if (at.mine && lane == 0) s.grids[group_at] = grid;

  float x[EACH];
#pragma unroll UNROLL
  for (int p = 0; p < EACH; p++) {
    const int column = p * GROUP_LANES + lane;
    x[p] = column < c.n ? w[at.r * s.cols + c.first + (size_t)column] : 0.0f;
  }
#pragma unroll UNROLL
  for (int p = 0; p < EACH; p++)
#pragma unroll 1
    for (int i = 0; i < GROUP_LANES; i++) {
      const int k = p * GROUP_LANES + i;
      if (k >= c.n) break;
      const float *u = c.square + (size_t)k * c.ld;
      const float now = half_get(x[p], i), code = sb_grid_code(&grid, now);
      const float e = (now - sb_grid_value(&grid, code)) / u[k];
      if (at.mine && lane == i) {
        s.codes[at.r * s.cols + c.first + (size_t)k] = (uint8_t)code;
        error[at.r * (size_t)c.n + (size_t)k] = e;
      }
#pragma unroll UNROLL
      for (int q = p; q < EACH; q++) {
        const int column = q * GROUP_LANES + lane;
        if (column > k && column < c.n) x[q] = fmaf(-e, u[column], x[q]);
      }
    }
}

sb_status sb_cuda_round_columns(sb_backend *backend, sb_stream stream, const sb_stack *stack,
                                float *w, size_t begin, size_t end, const float *panel, size_t ld,
                                bool fitted) {
  const cudaStream_t queue = sb_cuda_stream(backend, stream);
  const size_t cols = stack->cols;
  float *error;
  if (stack->rows == 0) return SB_OK;
  SB_TRY(
      stack_begin(backend, queue, "round_columns", stack, begin, end, stack->block_cols, &error));
  for (size_t first = begin, behind; first < end; first = behind) {
    const size_t n = sb_min_size(stack->block_cols, cols - first);
    const float *below = panel + (first - begin) * ld;
    const stack_column column = {first / stack->block_cols, first, (int)n, below + (first - begin),
                                 ld};
    behind = first + n;
    SB_TRY(sb_cuda_launch(backend, queue, "round_columns",
                          n > GROUP_PIECE ? round_column<STACK_PIECES> : round_column<1>,
                          stack_blocks(stack), BLOCK_THREADS, 0, stack_dev_of(stack), error,
                          (const float *)w, column, fitted));
    SB_TRY(stack_correct(backend, queue, stack, w, error, column, below + (behind - begin)));
  }
  return SB_OK;
}
