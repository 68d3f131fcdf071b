/* Rounding a matrix to the grids of its blocks. */
#include "kernels/cpu/cpu_blocks.h"
#include "kernels/cpu/cpu_group.h"

/* One group: out[at .. at + n) = Q_bits(w). */
static void round_group(void *out, sb_dtype out_dtype, const sb_block_weights *m, size_t at,
                        size_t n, unsigned bits, unsigned fit) {
  float room[SB_GROUP_MAX];
  sb_grid grid = {0};
  const float *x = lanes_floats(room, m->w, m->dtype, at, n);
  if (bits != 0) grid = cpu_grid_of(x, n, bits, m->code_kind, fit);
  for (size_t i = 0; i < n; i += LANES) {
    const lanes_mask mask = lanes_first(n - i);
    lanes v = lanes_load(x + i, mask);
    if (bits != 0) v = cpu_grid_values(&grid, cpu_grid_codes(&grid, v));
    lanes_store_as(out, out_dtype, at + i, mask, v);
  }
}

sb_status sb_cpu_quantize_blocks(sb_backend *backend, sb_stream stream, void *out,
                                 sb_dtype out_dtype, const sb_block_weights *m,
                                 const uint8_t *fits) {
  const sb_tiling *tiling = m->tiling;
  (void)stream;
  SB_TRY(sb_check_blocks("quantize_blocks", tiling, m->bits, 0));
  const size_t strips = sb_cpu_strips(tiling), columns = sb_tiling_block_cols(tiling);
#pragma omp parallel for num_threads(sb_cpu_threads(backend)) schedule(static)
  for (size_t index = 0; index < strips; index++) {
    const sb_cpu_strip s = sb_cpu_strip_at(tiling, index);
    for (size_t r = s.row; r < s.row + s.rows; r++)
      for (size_t j = 0; j < s.blocks; j++)
        round_group(out, out_dtype, m, r * tiling->cols + s.col + j * tiling->block_cols,
                    sb_tiling_cols_of(tiling, s.block % columns + j), m->bits[s.block + j],
                    fits ? fits[r * columns + s.block % columns + j] : 0);
  }
  return SB_OK;
}
