/* Products with packed trellis codes: the steps that cuda_packed.h lists, but for the tensor cores.
 */
#include "kernels/cuda/cuda_blocks.cuh"
#include "kernels/cuda/cuda_packed_trellis.h"
#include "kernels/cuda/cuda_hadamard.h"
#include "kernels/cuda/cuda_trellis.cuh"

/* ---- once per matrix ---- */

/* Copies what stands in the heads of packed rows: thread by thread, scales and then row factors. */
static __global__ void __launch_bounds__(SB_CUDA_THREADS)
    read_heads(float *scales, uint16_t *rows, const uint8_t *packed, const size_t *offsets,
               sb_tiling tiling, sb_code_kind code_kind) {
  const size_t columns = sb_tiling_block_cols(&tiling),
               blocks = columns * sb_tiling_block_rows(&tiling);
  for (size_t item = (size_t)blockIdx.x * SB_CUDA_THREADS + threadIdx.x;
       item < blocks + tiling.rows; item += (size_t)gridDim.x * SB_CUDA_THREADS) {
    const bool is_block = item < blocks;
    const size_t r = is_block ? 0 : item - blocks,
                 i = is_block ? item / columns : r / tiling.block_rows;
    const sb_blockrow_head head =
        sb_blockrow_head_of(columns, sb_tiling_rows_of(&tiling, i), code_kind);
    const uint8_t *row = packed + offsets[i];
    if (is_block)
      scales[item] = sb_grid_from_fp16(packed_half(row + head.scales, item % columns));
    else
      rows[r] = packed_half(row + head.row_factors, r % tiling.block_rows);
  }
}

sb_status sb_cuda_packed_trellis_create(sb_backend *backend, cudaStream_t queue, sb_packed_impl *w,
                                        const uint16_t *col_factors) {
  const size_t block_rows = sb_tiling_block_rows(&w->tiling), rows = w->tiling.rows,
               blocks = block_rows * sb_tiling_block_cols(&w->tiling);
  size_t *offsets_dev;
  SB_TRY(sb_cuda_alloc(backend, blocks * sizeof(float) + rows * sizeof(uint16_t),
                       "factors of a packed matrix", &w->factors));
  float *scales = (float *)w->factors;
  w->at.scales = scales;
  w->row_factors = (uint16_t *)(scales + blocks);
  w->col_factors = col_factors;
  SB_TRY(sb_cuda_send(backend, queue, w->offsets, block_rows * sizeof *w->offsets, &offsets_dev));
  return sb_cuda_launch(backend, queue, "packed_create", read_heads,
                        sb_cuda_blocks_for(backend, blocks + rows), SB_CUDA_THREADS, 0, scales,
                        w->row_factors, w->packed, (const size_t *)offsets_dev, w->tiling,
                        w->code_kind);
}

/* ---- the product in f32 ---- */

constexpr int EACH = 8; /* tokens of a thread block */

/* A thread block has a strip of tiles along a block row, a thread the same weight of each: so the
 * sums of a thread are those of one row. They are added in the order of threads. */
static __global__ void __launch_bounds__(SB_TRELLIS_TILE)
    packed_strips(float *z, const float *x, const uint8_t *packed, packed_tables at,
                  sb_tiling tiling, sb_code_kind code_kind, size_t T) {
  __shared__ float room[EACH][SB_TRELLIS_TILE];
  const unsigned s = threadIdx.x;
  sb_trellis t = sb_trellis_of(code_kind, 1);
  const size_t strips = sb_trellis_tiles_down(&t, tiling.block_rows),
               columns = sb_tiling_block_cols(&tiling), i = blockIdx.x / strips,
               strip = blockIdx.x % strips, rows = sb_tiling_rows_of(&tiling, i),
               token = (size_t)blockIdx.y * EACH;
  if (strip * t.tile_rows >= rows) return;
  unsigned r, c;
  float sum[EACH] = {};
  sb_trellis_place(&t, s, &r, &c);
  for (size_t j = 0; j < columns; j++) {
    const uint64_t entry = at.blocks[i * columns + j];
    const float scale = at.scales[i * columns + j];
    const size_t cols = sb_tiling_cols_of(&tiling, j);
    t = sb_trellis_of(code_kind, packed_bits(entry));
    const size_t down = sb_trellis_tiles_down(&t, rows), bytes = sb_trellis_tile_bytes(&t);
    const uint8_t *tile = packed + packed_offset(entry) + strip * bytes;
    for (size_t col = c; col < cols; col += t.tile_cols, tile += down * bytes) {
      const float value = __fmul_rn(
          scale, sb_trellis_number(&t, sb_trellis_level(&t, sb_trellis_state(&t, tile, s))));
#pragma unroll
      for (int n = 0; n < EACH; n++)
        if (token + (size_t)n < T)
          sum[n] = fmaf(value, x[(token + (size_t)n) * tiling.cols + j * tiling.block_cols + col],
                        sum[n]);
    }
  }
#pragma unroll
  for (int n = 0; n < EACH; n++) room[n][s] = sum[n];
  __syncthreads();
  for (unsigned item = s; item < t.tile_rows * EACH; item += SB_TRELLIS_TILE) {
    const size_t row = strip * t.tile_rows + item % t.tile_rows, n = item / t.tile_rows;
    float all = 0.0f;
    for (unsigned k = 0; k < SB_TRELLIS_TILE; k++) {
      sb_trellis_place(&t, k, &r, &c);
      if (r == item % t.tile_rows) all += room[n][k];
    }
    if (row < rows && token + n < T)
      z[(token + n) * tiling.rows + i * tiling.block_rows + row] = all;
  }
}

static sb_status by_strips(sb_backend *backend, cudaStream_t queue, const sb_packed_impl *w,
                           float *z, const float *x, size_t T) {
  const sb_trellis t = sb_trellis_of(w->code_kind, 1);
  const size_t strips =
      sb_tiling_block_rows(&w->tiling) * sb_trellis_tiles_down(&t, w->tiling.block_rows);
  return sb_cuda_launch(backend, queue, "packed_gemm", packed_strips,
                        dim3((unsigned)strips, (unsigned)sb_div_up(T, (size_t)EACH)),
                        SB_TRELLIS_TILE, 0, z, x, w->packed, w->at, w->tiling, w->code_kind, T);
}

/* ---- all steps ---- */

sb_status sb_cuda_packed_trellis(sb_backend *backend, cudaStream_t queue, const sb_packed_impl *w,
                                 float *y, const void *x, size_t T, bool add) {
  const sb_tiling *tiling = &w->tiling;
  const size_t inputs = T * tiling->cols, outputs = T * tiling->rows,
               parts = w->tiled ? (size_t)w->segments * SB_CUDA_TRELLIS_TOKENS * SB_CUDA_PACKED_SIDE
                                : 0;
  float *room;
  SB_TRY(sb_cuda_scratch(backend, queue, SB_CUDA_SLOT_WORK,
                         (inputs + outputs + parts) * sizeof *room, &room));
  float *z = room + inputs;
  SB_TRY(sb_cuda_hadamard_into(backend, queue, room, x, backend->operand, T, tiling->cols,
                               tiling->block_cols, w->col_factors, NULL, false));
  SB_TRY(w->tiled
             ? sb_cuda_packed_trellis_tiles(backend, queue, w, z, room, T, room + inputs + outputs)
             : by_strips(backend, queue, w, z, room, T));
  return sb_cuda_hadamard_into(backend, queue, y, z, SB_F32, T, tiling->rows, tiling->block_rows,
                               NULL, w->row_factors, add);
}
