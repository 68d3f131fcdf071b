#include "kernels/cuda/cuda_packed.h"

extern "C" {
#include "kernels/shared/blockrow_layout.h"
#include "kernels/shared/checks.h"
}

constexpr size_t RUNS = 3;                /* thread blocks a multiprocessor holds at once */
constexpr size_t PANEL_BYTES = 64u << 20; /* unpacked weights per product, about */

/* The tables of cuda_packed.h, one after another in one buffer: made on the host, copied to the
 * device. */
typedef struct plan {
  uint64_t *blocks;
  uint32_t *run, *segment, *row;
  unsigned *arrived;
} plan;

static size_t plan_bytes(size_t blocks, size_t block_rows, size_t runs) {
  return blocks * sizeof(uint64_t) + (2 * runs + 1 + 2 * block_rows + 1) * sizeof(uint32_t);
}

static plan plan_at(void *at, size_t blocks, size_t block_rows, size_t runs) {
  plan p;
  p.blocks = (uint64_t *)at;
  p.run = (uint32_t *)(p.blocks + blocks);
  p.segment = p.run + runs + 1;
  p.row = p.segment + runs;
  p.arrived = p.row + block_rows + 1;
  return p;
}

/* Bytes of block (i, j) among the blocks of its row. */
static size_t bytes_of(const sb_packed_impl *w, size_t i, size_t j) {
  const size_t rows = sb_tiling_rows_of(&w->tiling, i), cols = sb_tiling_cols_of(&w->tiling, j);
  const unsigned bits = w->bits[i * sb_tiling_block_cols(&w->tiling) + j];
  if (sb_is_trellis(w->code_kind)) {
    const sb_trellis t = sb_trellis_of(w->code_kind, bits);
    return sb_trellis_tiles(&t, rows, cols) * sb_trellis_tile_bytes(&t);
  }
  const sb_block_layout layout = sb_block_layout_of(rows, cols, bits, w->code_kind);
  return sb_block_layout_bytes(&layout);
}

/* Fills the table of blocks; returns the bytes of all blocks. */
static size_t locate(const plan *p, const sb_packed_impl *w) {
  const size_t columns = sb_tiling_block_cols(&w->tiling),
               block_rows = sb_tiling_block_rows(&w->tiling);
  size_t total = 0;
  for (size_t i = 0; i < block_rows; i++) {
    const sb_blockrow_head head =
        sb_blockrow_head_of(columns, sb_tiling_rows_of(&w->tiling, i), w->code_kind);
    size_t at = w->offsets[i] + head.codes;
    for (size_t j = 0; j < columns; j++) {
      const size_t bytes = bytes_of(w, i, j);
      p->blocks[i * columns + j] = packed_entry(at, bytes, w->bits[i * columns + j]);
      at += bytes;
      total += bytes;
    }
  }
  return total;
}

/* Deals blocks to runs of equal bytes: block k goes to the run where its middle falls. Then numbers
 * the segments into which runs cut block rows. */
static unsigned deal(const plan *p, const sb_packed_impl *w, size_t total) {
  const size_t columns = sb_tiling_block_cols(&w->tiling),
               block_rows = sb_tiling_block_rows(&w->tiling);
  size_t before = 0, run = 0;
  unsigned segments = 0;
  p->run[0] = 0;
  for (size_t k = 0; k < columns * block_rows; k++) {
    const size_t bytes = bytes_of(w, k / columns, k % columns),
                 mine = (2 * before + bytes) * w->runs / (2 * total);
    while (run < mine) p->run[++run] = (uint32_t)k;
    before += bytes;
  }
  while (run < w->runs) p->run[++run] = (uint32_t)(columns * block_rows);
  for (size_t i = 0; i <= block_rows; i++) p->row[i] = 0;
  for (run = 0; run < w->runs; run++) {
    p->segment[run] = segments;
    for (size_t k = p->run[run]; k < p->run[run + 1]; k = (k / columns + 1) * columns) {
      p->row[k / columns + 1] = ++segments;
    }
  }
  for (size_t i = 0; i < block_rows; i++) p->arrived[i] = 0;
  return segments;
}

static bool is_tiled(const sb_packed_impl *w) {
  const size_t side = SB_CUDA_PACKED_SIDE;
  bool good = w->tiling.block_rows == side && w->tiling.block_cols == side &&
              w->tiling.rows % side == 0 && w->tiling.cols % side == 0 &&
              (uintptr_t)w->packed % 16 == 0 && w->code_kind != SB_TRELLIS_EXL3;
  for (size_t i = 0; i < sb_tiling_block_rows(&w->tiling); i++)
    good = good && w->offsets[i] % 16 == 0;
  return good;
}

void sb_cuda_packed_destroy(sb_backend *backend, sb_packed w) {
  if (!w) return;
  sb_cuda_free(backend, w->tables);
  sb_cuda_free(backend, w->factors);
  sb_free(&w->offsets);
  sb_free(&w->bits);
  sb_free(&w);
}

static sb_status fill(sb_backend *backend, cudaStream_t stream, sb_packed_impl *w) {
  const size_t block_rows = sb_tiling_block_rows(&w->tiling),
               blocks = block_rows * sb_tiling_block_cols(&w->tiling);
  w->runs = (unsigned)sb_max_size(
      1, sb_min_size(blocks, RUNS * (size_t)sb_cuda_of(backend)->multiprocessors));
  const size_t bytes = plan_bytes(blocks, block_rows, w->runs);
  void *host, *sent;
  SB_TRY(sb_alloc(&host, bytes, 1, "plan of a packed matrix"));
  const plan p = plan_at(host, blocks, block_rows, w->runs);
  const size_t total = locate(&p, w);
  if (w->tiled) w->segments = deal(&p, w, total);
  sb_status status = sb_cuda_alloc(backend, bytes, "plan of a packed matrix", &w->tables);
  SB_THEN(sb_cuda_send(backend, stream, host, bytes, &sent));
  SB_THEN(sb_cuda_copy(backend, (sb_stream)stream, w->tables, sent, bytes));
  sb_free(&host);
  if (status != SB_OK) return status;
  const plan plan_dev = plan_at(w->tables, blocks, block_rows, w->runs);
  w->at.blocks = plan_dev.blocks;
  w->at.run = plan_dev.run;
  w->at.segment = plan_dev.segment;
  w->at.row = plan_dev.row;
  w->at.arrived = plan_dev.arrived;
  return SB_OK;
}

sb_status sb_cuda_packed_create(sb_backend *backend, sb_stream stream, const uint8_t *packed,
                                const size_t *offsets, const sb_tiling *tiling, const uint8_t *bits,
                                sb_code_kind code_kind, const uint16_t *col_factors,
                                sb_packed *out) {
  const size_t block_rows = sb_tiling_block_rows(tiling),
               blocks = block_rows * sb_tiling_block_cols(tiling);
  sb_packed w = NULL;
  sb_status status = SB_OK;
  *out = NULL;
  SB_TRY(sb_check_blocks("packed_create", tiling, bits, 1));
  if (blocks > UINT32_MAX / 2)
    return sb_fail(SB_ERR_UNSUPPORTED, "packed_create: %zu blocks, at most %u are supported",
                   blocks, UINT32_MAX / 2);
  SB_TRY(sb_alloc(&w, 1, sizeof *w, "packed matrix"));
  w->packed = packed;
  w->tiling = *tiling;
  w->code_kind = code_kind;
  SB_GO(sb_alloc(&w->offsets, block_rows, sizeof *offsets, "packed matrix"));
  SB_GO(sb_alloc(&w->bits, blocks, 1, "packed matrix"));
  memcpy(w->offsets, offsets, block_rows * sizeof *offsets);
  memcpy(w->bits, bits, blocks);
  w->tiled = is_tiled(w);
  SB_GO(fill(backend, sb_cuda_stream(backend, stream), w));
  if (sb_is_trellis(code_kind))
    SB_GO(sb_cuda_packed_trellis_create(backend, sb_cuda_stream(backend, stream), w, col_factors));
  *out = w;
  return SB_OK;
done:
  sb_cuda_packed_destroy(backend, w);
  return status;
}

/* Many tokens: unpacks some block rows at a time, and multiplies them by gemm. */
static sb_status by_panels(sb_backend *backend, sb_stream stream, const sb_packed_impl *w, float *y,
                           const void *x, size_t T, bool add) {
  const size_t columns = sb_tiling_block_cols(&w->tiling),
               block_rows = sb_tiling_block_rows(&w->tiling);
  const size_t each = w->tiling.block_rows * w->tiling.cols * sb_dtype_size(backend->operand);
  const size_t most = sb_max_size(1, PANEL_BYTES / each);
  for (size_t i = 0; i < block_rows; i += most) {
    const size_t count = sb_min_size(most, block_rows - i), first = i * w->tiling.block_rows;
    sb_tiling panel = w->tiling;
    void *weights;
    panel.rows = sb_min_size(count * panel.block_rows, w->tiling.rows - first);
    SB_TRY(sb_cuda_scratch(backend, sb_cuda_stream(backend, stream), SB_CUDA_SLOT_WORK,
                           count * each, &weights));
    SB_TRY(sb_cuda_unpack_blocks(backend, stream, weights, backend->operand, w->packed,
                                 w->offsets + i, &panel, w->bits + i * columns, w->code_kind,
                                 w->col_factors));
    const sb_gemm_args product = {.m = T,
                                  .n = panel.rows,
                                  .k = panel.cols,
                                  .a = sb_view(x, backend->operand, panel.cols),
                                  .b = sb_view_transposed(weights, backend->operand, panel.cols),
                                  .c = y + first,
                                  .c_dtype = SB_F32,
                                  .ldc = w->tiling.rows,
                                  .add = add,
                                  .type = SB_GEMM_OPERANDS,
                                  .scale_a = nullptr,
                                  .scale_b = nullptr};
    SB_TRY(sb_cuda_gemm(backend, stream, &product));
  }
  return SB_OK;
}

sb_status sb_cuda_packed_gemm(sb_backend *backend, sb_stream stream, void *y, const void *x,
                              size_t T, sb_packed w, bool add) {
  if (T == 0 || w->tiling.rows == 0) return SB_OK;
  if (T > SB_CUDA_PACKED_TOKENS) return by_panels(backend, stream, w, (float *)y, x, T, add);
  const auto some = sb_is_trellis(w->code_kind) ? sb_cuda_packed_trellis
                    : w->tiled                  ? sb_cuda_packed_tiles
                                                : sb_cuda_packed_rows;
  return some(backend, sb_cuda_stream(backend, stream), w, (float *)y, x, T, add);
}
