/* The fit of each group, by which its range is shrunk: kernels/shared/grid.h, fitted grids. */
#include "kernels/cpu/cpu_blocks.h"
#include "kernels/cpu/cpu_group.h"

sb_status sb_cpu_fit_blocks(sb_backend *backend, sb_stream stream, uint8_t *fits,
                            const sb_block_weights *m, const float *importance) {
  const sb_tiling *tiling = m->tiling;
  (void)stream;
  SB_TRY(sb_check_blocks("fit_blocks", tiling, m->bits, 0));
  const size_t columns = sb_tiling_block_cols(tiling);
#pragma omp parallel for num_threads(sb_cpu_threads(backend)) schedule(static)
  for (size_t r = 0; r < tiling->rows; r++)
    for (size_t j = 0; j < columns; j++) {
      float room[SB_GROUP_MAX];
      const size_t first = j * tiling->block_cols, n = sb_tiling_cols_of(tiling, j);
      const unsigned b = m->bits[r / tiling->block_rows * columns + j];
      uint8_t *fit = &fits[r * columns + j];
      *fit = 0;
      if (b != 0)
        *fit = cpu_group_fit(lanes_floats(room, m->w, m->dtype, r * tiling->cols + first, n),
                             importance + first, n, b, m->code_kind);
    }
  return SB_OK;
}
