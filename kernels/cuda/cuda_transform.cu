/* Weights to the coordinates of trellis codes, and back (ops/trellis.h). A thread block has a block
 * of weights. */
#include "kernels/cuda/cuda_transform.h"
#include "kernels/cuda/cuda_hadamard.cuh"

extern "C" {
#include "kernels/shared/trellis_scale.h"
}

/* Row factors: half a warp has a row, and sums in the order of shared/grid.h. */
template <typename W>
static __global__ void __launch_bounds__(BLOCK_THREADS)
    row_factors(uint16_t *out, const W *w, size_t rows, size_t cols, size_t first_row,
                uint64_t row_key, const uint16_t *col_factors, sb_code_kind code_kind,
                unsigned width) {
  const int lane = (int)threadIdx.x % GROUP_LANES;
  const size_t at = (size_t)blockIdx.x * BLOCK_HALVES + threadIdx.x / GROUP_LANES,
               r = at < rows ? at : rows - 1;
  double sum = 0.0;
  for (size_t c = (size_t)lane; c < cols; c += GROUP_LANES) {
    const double x = (double)(sb_number(w[r * cols + c]) / sb_grid_from_fp16(col_factors[c]));
    sum = fma(x, x, sum);
  }
  sum = group_sum(sum);
  if (at < rows && lane == 0)
    out[r] = sb_trellis_row_factor(code_kind, width, sum, cols,
                                   sb_transform_sign(row_key, first_row + r));
}

template <typename W>
static __global__ void __launch_bounds__(HADAMARD_THREADS)
    transform(float *s, const W *w, sb_tiling tiling, const uint16_t *rows,
              const uint16_t *columns) {
  const cuda_block b = cuda_block_at(tiling, blockIdx.x);
  const size_t at = b.row * tiling.cols + b.col;
  hadamard_block(
      b,
      [&](float *tile, int row, int n, int col, int m) {
        hadamard_fill(tile, w + at, tiling.cols, row, n, col, m, [&](int r, int c, float x) {
          return x / __fmul_rn(sb_grid_from_fp16(rows[b.row + (size_t)r]),
                               sb_grid_from_fp16(columns[b.col + (size_t)c]));
        });
      },
      [&](int r, int c, float x) { s[at + (size_t)r * tiling.cols + (size_t)c] = x; });
}

sb_status sb_cuda_trellis_transform(sb_backend *backend, sb_stream stream, float *s,
                                    uint16_t *factors, const sb_block_weights *w, size_t first_row,
                                    uint64_t row_key, const uint16_t *col_factors) {
  const cudaStream_t queue = sb_cuda_stream(backend, stream);
  const sb_tiling *tiling = w->tiling;
  const size_t blocks = sb_cuda_block_count(tiling);
  SB_TRY(sb_check_tiling("trellis_transform", tiling));
  if (blocks == 0) return SB_OK;
  return sb_with_number(w->dtype, "weights to transform", [&](auto type) {
    typedef decltype(type) W;
    SB_TRY(sb_cuda_launch(backend, queue, "trellis_transform", row_factors<W>,
                          (unsigned)sb_div_up(tiling->rows, (size_t)BLOCK_HALVES), BLOCK_THREADS, 0,
                          factors, (const W *)w->w, tiling->rows, tiling->cols, first_row, row_key,
                          col_factors, w->code_kind, w->bits ? w->bits[0] : 0u));
    return sb_cuda_launch(backend, queue, "trellis_transform", transform<W>, (unsigned)blocks,
                          HADAMARD_THREADS, HADAMARD_ROOM, s, (const W *)w->w, *tiling,
                          (const uint16_t *)factors, col_factors);
  });
}

/* Blocks of width 0 are copies of `w`. */
template <typename W, typename O>
static __global__ void __launch_bounds__(HADAMARD_THREADS)
    restore(O *out, const float *s, const W *w, sb_tiling tiling, const uint8_t *bits,
            const uint16_t *rows, const uint16_t *columns) {
  const cuda_block b = cuda_block_at(tiling, blockIdx.x);
  const size_t at = b.row * tiling.cols + b.col;
  if (bits[b.k] == 0) {
    for (int item = (int)threadIdx.x; item < b.rows * b.n; item += HADAMARD_THREADS) {
      const size_t i = at + (size_t)(item / b.n) * tiling.cols + (size_t)(item % b.n);
      sb_store_number(out + i, sb_number(w[i]));
    }
    return;
  }
  hadamard_block(
      b,
      [&](float *tile, int row, int n, int col, int m) {
        hadamard_fill(tile, s + at, tiling.cols, row, n, col, m,
                      [](int, int, float x) { return x; });
      },
      [&](int r, int c, float x) {
        sb_store_number(out + at + (size_t)r * tiling.cols + (size_t)c,
                        hadamard_weight(x, rows[b.row + (size_t)r], columns[b.col + (size_t)c]));
      });
}

sb_status sb_cuda_trellis_restore(sb_backend *backend, cudaStream_t queue, void *out,
                                  sb_dtype out_dtype, const float *s, const sb_block_weights *w,
                                  const uint8_t *bits_dev, const uint16_t *row_factors,
                                  const uint16_t *col_factors) {
  return sb_with_number(w->dtype, "weights to round", [&](auto from) {
    return sb_with_number(out_dtype, "rounded weights", [&](auto to) {
      typedef decltype(from) W;
      typedef decltype(to) O;
      return sb_cuda_launch(backend, queue, "trellis_quantize", restore<W, O>,
                            (unsigned)sb_cuda_block_count(w->tiling), HADAMARD_THREADS,
                            HADAMARD_ROOM, (O *)out, s, (const W *)w->w, *w->tiling, bits_dev,
                            row_factors, col_factors);
    });
  });
}

/* The squares of a block, of one window of its columns after the other. Half a warp sums a row of a
 * window, one thread adds the rows in their order: all of them, or by windows and then these. */
static __device__ double block_squares(const viterbi_block &b, const float *s, size_t ld,
                                       unsigned window, bool whole, double *sums) {
  const int half = (int)threadIdx.x / GROUP_LANES, lane = (int)threadIdx.x % GROUP_LANES;
  double total = 0.0;
  for (unsigned row = 0; row < b.rows; row += SB_TRELLIS_PATCH)
    for (unsigned col = 0; col < b.cols; col += window) {
      const int rows = min((int)(b.rows - row), (int)SB_TRELLIS_PATCH),
                cols = (int)min(b.cols - col, window);
      for (int first = 0; first < rows; first += BLOCK_HALVES) {
        const int r = min(first + half, rows - 1);
        const float *from = s + b.first + (size_t)(row + (unsigned)r) * ld + col;
        double sum = 0.0;
        for (int c = lane; c < cols; c += GROUP_LANES)
          sum += (double)from[c] * (double)from[c]; /* an exact product: fused or not */
        sum = group_sum(sum);
        if (lane == 0 && first + half < rows) sums[r] = sum;
      }
      __syncthreads();
      double patch = whole ? total : 0.0;
      for (int r = 0; threadIdx.x == 0 && r < rows; r++) patch += sums[r];
      total = whole ? patch : total + patch;
      __syncthreads();
    }
  return total;
}

static __global__ void __launch_bounds__(BLOCK_THREADS)
    block_scales(viterbi_block *blocks, const float *s, size_t ld, sb_code_kind code_kind,
                 bool feedback) {
  __shared__ double sums[SB_TRELLIS_PATCH];
  const viterbi_block b = blocks[blockIdx.x];
  if (b.width == 0) return;
  const size_t n = (size_t)b.rows * (size_t)b.cols;
  const double squares =
      block_squares(b, s, ld, feedback ? b.cols : (unsigned)SB_TRELLIS_PATCH, feedback, sums);
  const uint16_t scale =
      feedback
          ? sb_trellis_scale_with(code_kind, b.width, sb_trellis_feedback_gain(b.width), squares, n)
          : sb_trellis_scale(code_kind, b.width, squares, n);
  if (threadIdx.x == 0) blocks[blockIdx.x].scale = sb_grid_from_fp16(scale);
}

sb_status sb_cuda_trellis_scales(sb_backend *backend, cudaStream_t queue, viterbi_block *blocks,
                                 size_t count, const float *s, size_t ld, sb_code_kind code_kind,
                                 bool feedback) {
  return sb_cuda_launch(backend, queue, "scales of blocks", block_scales, (unsigned)count,
                        BLOCK_THREADS, 0, blocks, s, ld, code_kind, feedback);
}
