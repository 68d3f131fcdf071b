/* Rounding to trellis codes with feedback: ops/trellis.h has the method. A column of tiles of all
 * block rows is coded at a time; then its errors correct the rest of the block column, and, once
 * that is done, one product corrects what is behind it. */
#include "kernels/cuda/cuda_stack.cuh"
#include "kernels/cuda/cuda_transform.h"
#include "kernels/cuda/cuda_viterbi.h"

extern "C" {
#include "kernels/shared/trellis.h"
}

constexpr int MOST_WIDE = 16; /* columns of a tile */

/* The blocks of block column j: one of each block row. starts [count + 1], on the device. */
static __global__ void __launch_bounds__(SB_CUDA_THREADS)
    describe_rows(viterbi_block *blocks, stack_dev s, const size_t *starts, size_t count,
                  stack_column c) {
  const size_t i = (size_t)blockIdx.x * SB_CUDA_THREADS + threadIdx.x;
  if (i >= count) return;
  viterbi_block b;
  b.first = starts[i] * s.cols + c.first;
  b.rows = (unsigned)(starts[i + 1] - starts[i]);
  b.cols = (unsigned)c.n;
  b.width = s.bits[c.j * s.rows + starts[i]];
  b.scale = 0.0f; /* comes from the weights */
  blocks[i] = b;
}

/* The scales of the blocks as grids of their rows. A thread block has a block row. */
static __global__ void __launch_bounds__(SB_CUDA_THREADS)
    put_grids(stack_dev s, const viterbi_block *blocks, const size_t *starts, stack_column c) {
  const sb_grid grid = {blocks[blockIdx.x].scale, 0.0f, 0.0f, 0.0f, 0.0f};
  for (size_t r = starts[blockIdx.x] + threadIdx.x; r < starts[blockIdx.x + 1];
       r += SB_CUDA_THREADS)
    s.grids[c.j * s.rows + r] = grid;
}

/* The errors of the columns [at, at + n) of a block column, as `round` of its own left them
 * (tile [rows, wide]), become those that later columns must make good (error [rows, c.n]). Corrects
 * the columns behind them in the block. A warp has a row. */
static __global__ void __launch_bounds__(SB_CUDA_THREADS)
    correct(float *w, float *error, const float *tile, stack_dev s, stack_column c, int at, int n,
            int wide) {
  const size_t r = ((size_t)blockIdx.x * SB_CUDA_THREADS + threadIdx.x) / SB_WARP;
  const int lane = (int)threadIdx.x % SB_WARP;
  if (r >= s.rows) return;
  float e[MOST_WIDE];
#pragma unroll
  for (int k = 0; k < MOST_WIDE; k++) {
    if (k >= n) break;
    const float *u = c.square + (size_t)at * c.ld + (size_t)at;
    float left = tile[r * (size_t)wide + (size_t)k];
#pragma unroll
    for (int m = 0; m < k; m++) left = fmaf(-e[m], u[(size_t)m * c.ld + (size_t)k], left);
    e[k] = left / u[(size_t)k * c.ld + (size_t)k];
    if (lane == 0) error[r * (size_t)c.n + (size_t)(at + k)] = e[k];
  }
  for (int column = at + n + lane; column < c.n; column += SB_WARP) {
    float *to = w + r * s.cols + c.first + (size_t)column, x = *to;
#pragma unroll
    for (int k = 0; k < MOST_WIDE; k++) {
      if (k >= n) break;
      x = fmaf(-e[k], c.square[(size_t)(at + k) * c.ld + (size_t)column], x);
    }
    *to = x;
  }
}

/* Device memory of a call, and what all its launches share. */
typedef struct rounding {
  const sb_stack *stack;
  float *w, *error, *tile;
  viterbi_block *blocks;
  const size_t *starts_dev;
  unsigned down, wide, widths;
} rounding;

static sb_status begin_rounding(sb_backend *backend, cudaStream_t queue, rounding *a) {
  const sb_stack *stack = a->stack;
  const sb_trellis t = sb_trellis_of(stack->code_kind, 1);
  const size_t table = stack->count * sizeof(viterbi_block);
  size_t most = 0;
  void *room, *starts;
  for (size_t i = 0; i < stack->count; i++)
    most = sb_max_size(most, stack->starts[i + 1] - stack->starts[i]);
  a->wide = t.tile_cols;
  a->down = (unsigned)sb_trellis_tiles_down(&t, most);
  a->widths = 0x1fe; /* bits are on the device: any of 1 .. 8 */
  SB_TRY(sb_cuda_scratch(backend, queue, SB_CUDA_SLOT_WORK,
                         table + stack->rows * (stack->block_cols + a->wide) * sizeof(float),
                         &room));
  a->blocks = (viterbi_block *)room;
  a->error = (float *)((char *)room + table);
  a->tile = a->error + stack->rows * stack->block_cols;
  SB_TRY(sb_cuda_send(backend, queue, stack->starts, (stack->count + 1) * sizeof *stack->starts,
                      &starts));
  a->starts_dev = (const size_t *)starts;
  return SB_OK;
}

/* Rounds block column c, and corrects inside it. */
static sb_status round_block(sb_backend *backend, cudaStream_t queue, const rounding *a,
                             const stack_column &c) {
  const sb_stack *stack = a->stack;
  SB_TRY(sb_cuda_launch(backend, queue, "trellis_round", describe_rows,
                        (unsigned)sb_div_up(stack->count, (size_t)SB_CUDA_THREADS), SB_CUDA_THREADS,
                        0, a->blocks, stack_dev_of(stack), a->starts_dev, stack->count, c));
  SB_TRY(sb_cuda_trellis_scales(backend, queue, a->blocks, stack->count, a->w, stack->cols,
                                stack->code_kind, true));
  SB_TRY(sb_cuda_launch(backend, queue, "trellis_round", put_grids, (unsigned)stack->count,
                        SB_CUDA_THREADS, 0, stack_dev_of(stack), (const viterbi_block *)a->blocks,
                        a->starts_dev, c));
  viterbi_job job = {};
  job.blocks = a->blocks;
  job.count = stack->count;
  job.widths = a->widths;
  job.code_kind = stack->code_kind;
  job.columns = 1;
  job.down = a->down;
  job.s = a->w;
  job.ld = stack->cols;
  job.codes = stack->codes;
  job.errors = a->tile;
  for (int at = 0; at < c.n; at += (int)a->wide, job.column++) {
    const int n = c.n - at < (int)a->wide ? c.n - at : (int)a->wide;
    SB_TRY(sb_cuda_viterbi(backend, queue, &job));
    SB_TRY(sb_cuda_launch(backend, queue, "trellis_round", correct,
                          (unsigned)sb_div_up(stack->rows, (size_t)(SB_CUDA_THREADS / SB_WARP)),
                          SB_CUDA_THREADS, 0, a->w, a->error, (const float *)a->tile,
                          stack_dev_of(stack), c, at, n, (int)a->wide));
  }
  return SB_OK;
}

sb_status sb_cuda_trellis_round(sb_backend *backend, sb_stream stream, const sb_stack *stack,
                                float *w, size_t begin, size_t end, const float *panel, size_t ld) {
  const cudaStream_t queue = sb_cuda_stream(backend, stream);
  rounding a = {};
  SB_TRY(sb_check_stack("trellis_round", stack, begin, end));
  if (!sb_is_trellis(stack->code_kind))
    return sb_fail(SB_ERR_INTERNAL, "trellis_round: the codes are grids");
  if (stack->rows == 0) return SB_OK;
  a.stack = stack;
  a.w = w;
  SB_TRY(begin_rounding(backend, queue, &a));
  for (size_t first = begin, behind; first < end; first = behind) {
    const size_t n = sb_min_size(stack->block_cols, stack->cols - first);
    const float *below = panel + (first - begin) * ld;
    const stack_column column = {first / stack->block_cols, first, (int)n, below + (first - begin),
                                 ld};
    behind = first + n;
    SB_TRY(round_block(backend, queue, &a, column));
    SB_TRY(stack_correct(backend, queue, stack, w, a.error, column, below + (behind - begin)));
  }
  return SB_OK;
}
