#include "kernels/cpu/cpu_packed.h"

#include "base/memory.h"

/* to[c] = value c of a row of n codes, eight at a time: eight codes of b bits are b bytes. */
static void decode_codes(float *to, const uint8_t *codes, size_t n, unsigned bits,
                         const sb_grid *grid) {
  for (size_t c = 0; c < n; c += 8, codes += bits) {
    const size_t count = sb_min_size(8, n - c);
    uint64_t word = 0;
    for (size_t i = 0; i < sb_bitstring_bytes(count, bits); i++)
      word |= (uint64_t)codes[i] << 8 * i;
    word = sb_bitstring_unfold(word, bits);
    for (size_t i = 0; i < count; i++)
      to[c + i] = sb_grid_value(grid, (float)(word >> 8 * i & 255u));
  }
}

static void decode_row(float *to, const struct sb_packed_impl *w, size_t row) {
  const sb_tiling *tiling = &w->tiling;
  const size_t columns = sb_tiling_block_cols(tiling), i = row / tiling->block_rows,
               r = row % tiling->block_rows;
  for (size_t j = 0; j < columns; j++) {
    const uint8_t *block = w->packed + w->blocks[i * columns + j];
    const sb_block_layout layout = sb_packed_layout(w, i, j);
    const sb_grid grid = sb_block_grid(block, &layout, r, sb_block_zero(block, &layout, r));
    decode_codes(to + j * tiling->block_cols, block + layout.codes + r * layout.code_bytes,
                 layout.cols, layout.bits, &grid);
  }
}

sb_status sb_cpu_embed_packed(sb_backend *backend, sb_stream stream, void *x, const uint32_t *ids,
                              sb_packed w, size_t T, size_t v0) {
  (void)stream;
  const size_t h = w->tiling.cols;
  if (sb_is_trellis(w->code_kind))
    return sb_fail(SB_ERR_INTERNAL, "embed_packed: a row of trellis codes is not decoded alone");
#pragma omp parallel for schedule(static) num_threads(sb_cpu_threads(backend)) if (T * h > 8192)
  for (size_t t = 0; t < T; t++)
    if (ids[t] >= v0 && ids[t] - v0 < w->tiling.rows)
      decode_row((float *)x + t * h, w, ids[t] - v0);
  return SB_OK;
}
