/* Weights to the nearest trellis codes and back, some block rows at a time: transform, scales of
 * blocks, Viterbi's algorithm, and the way back. */
#include "kernels/cuda/cuda_blocks.cuh"
#include "kernels/cuda/cuda_transform.h"
#include "kernels/cuda/cuda_viterbi.h"

extern "C" {
#include "kernels/shared/trellis.h"
}

constexpr size_t PANEL = (size_t)1 << 25; /* weights in transformed coordinates at a time, about */

static __global__ void __launch_bounds__(SB_CUDA_THREADS)
    describe(viterbi_block *blocks, size_t count, sb_tiling tiling, const uint8_t *bits) {
  const size_t k = (size_t)blockIdx.x * SB_CUDA_THREADS + threadIdx.x;
  if (k >= count) return;
  const cuda_block b = cuda_block_at(tiling, k);
  viterbi_block out;
  out.first = b.row * tiling.cols + b.col;
  out.rows = (unsigned)b.rows;
  out.cols = (unsigned)b.n;
  out.width = bits[k];
  out.scale = 0.0f; /* comes from the weights */
  blocks[k] = out;
}

/* Device memory of a panel. */
typedef struct panel_room {
  float *s;
  viterbi_block *blocks;
  uint16_t *row_factors;
} panel_room;

static sb_status reserve(sb_backend *backend, cudaStream_t queue, const sb_tiling *panel,
                         panel_room *out) {
  const size_t n = panel->rows * panel->cols, blocks = sb_cuda_block_count(panel),
               table = sb_div_up(n * sizeof(float), sizeof(viterbi_block)) * sizeof(viterbi_block);
  uint8_t *room;
  SB_TRY(sb_cuda_scratch(backend, queue, SB_CUDA_SLOT_WORK,
                         table + blocks * sizeof(viterbi_block) + panel->rows * sizeof(uint16_t),
                         &room));
  out->s = (float *)room;
  out->blocks = (viterbi_block *)(room + table);
  out->row_factors = (uint16_t *)(out->blocks + blocks);
  return SB_OK;
}

/* The block rows of `w`, whose first row has the number first_row in the matrix. */
static sb_status quantize_panel(sb_backend *backend, sb_stream stream, void *out,
                                sb_dtype out_dtype, const sb_block_weights *w, size_t first_row,
                                const uint8_t *bits_dev, uint64_t row_key,
                                const uint16_t *col_factors) {
  const cudaStream_t queue = sb_cuda_stream(backend, stream);
  const sb_tiling *tiling = w->tiling;
  const size_t blocks = sb_cuda_block_count(tiling);
  const sb_trellis t = sb_trellis_of(w->code_kind, 1);
  panel_room room;
  unsigned widths = 0;
  for (size_t k = 0; k < blocks; k++) widths |= 1u << w->bits[k];
  SB_TRY(reserve(backend, queue, tiling, &room));
  SB_TRY(sb_cuda_trellis_transform(backend, stream, room.s, room.row_factors, w, first_row, row_key,
                                   col_factors));
  SB_TRY(sb_cuda_launch(backend, queue, "trellis_quantize", describe,
                        (unsigned)sb_div_up(blocks, (size_t)SB_CUDA_THREADS), SB_CUDA_THREADS, 0,
                        room.blocks, blocks, *tiling, bits_dev));
  SB_TRY(sb_cuda_trellis_scales(backend, queue, room.blocks, blocks, room.s, tiling->cols,
                                w->code_kind, false));
  const size_t rows = sb_min_size(tiling->block_rows, tiling->rows),
               cols = sb_min_size(tiling->block_cols, tiling->cols);
  viterbi_job job = {};
  job.blocks = room.blocks;
  job.count = blocks;
  job.widths = widths & ~1u;
  job.code_kind = w->code_kind;
  job.columns = (unsigned)sb_div_up(cols, (size_t)t.tile_cols);
  job.down = (unsigned)sb_trellis_tiles_down(&t, rows);
  job.s = job.values = room.s;
  job.ld = tiling->cols;
  SB_TRY(sb_cuda_viterbi(backend, queue, &job));
  return sb_cuda_trellis_restore(backend, queue, out, out_dtype, room.s, w, bits_dev,
                                 room.row_factors, col_factors);
}

sb_status sb_cuda_trellis_quantize(sb_backend *backend, sb_stream stream, void *out,
                                   sb_dtype out_dtype, const sb_block_weights *w, uint64_t row_key,
                                   const uint16_t *col_factors) {
  const sb_tiling *tiling = w->tiling;
  SB_TRY(sb_check_blocks("trellis_quantize", tiling, w->bits, 0));
  const size_t block_rows = sb_tiling_block_rows(tiling), across = sb_tiling_block_cols(tiling),
               each = tiling->block_rows * tiling->cols;
  if (block_rows * across == 0) return SB_OK;
  const size_t most = sb_max_size(1, PANEL / each);
  uint8_t *bits_dev;
  SB_TRY(sb_cuda_send(backend, sb_cuda_stream(backend, stream), w->bits, block_rows * across,
                      &bits_dev));
  for (size_t i = 0; i < block_rows; i += most) {
    const size_t first = i * tiling->block_rows, at = first * tiling->cols;
    sb_tiling panel = *tiling;
    panel.rows = sb_min_size(most * tiling->block_rows, tiling->rows - first);
    sb_block_weights part = *w;
    part.w = (const char *)w->w + at * sb_dtype_size(w->dtype);
    part.tiling = &panel;
    part.bits = w->bits + i * across;
    SB_TRY(quantize_panel(backend, stream, (char *)out + at * sb_dtype_size(out_dtype), out_dtype,
                          &part, first, bits_dev + i * across, row_key, col_factors));
  }
  return SB_OK;
}
