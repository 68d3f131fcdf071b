/* The grids of groups, chosen once for weights that then meet many gradients. */
#include "kernels/cpu/cpu_blocks.h"
#include "kernels/cpu/cpu_group.h"

sb_status sb_cpu_choose_grids(sb_backend *backend, sb_stream stream, sb_stored_grid *grids,
                              const sb_block_weights *m, unsigned min_bits, unsigned max_bits,
                              const float *importance) {
  const sb_tiling *tiling = m->tiling;
  (void)stream;
  SB_TRY(sb_check_widths("choose_grids", tiling, min_bits, max_bits));
  const size_t columns = sb_tiling_block_cols(tiling), widths = max_bits - min_bits + 1;
#pragma omp parallel for num_threads(sb_cpu_threads(backend)) schedule(static)
  for (size_t r = 0; r < tiling->rows; r++)
    for (size_t j = 0; j < columns; j++) {
      float room[SB_GROUP_MAX];
      const size_t first = j * tiling->block_cols, n = sb_tiling_cols_of(tiling, j);
      const float *x = lanes_floats(room, m->w, m->dtype, r * tiling->cols + first, n);
      for (unsigned i = 0; i < widths; i++) {
        const sb_grid grid = cpu_grid_for(x, importance, first, n, min_bits + i, m->code_kind);
        grids[(r * columns + j) * widths + i] = sb_grid_store(&grid);
      }
    }
  return SB_OK;
}

sb_status sb_cpu_move_grids(sb_backend *backend, sb_stream stream, sb_stored_grid *grids,
                            const sb_block_weights *m, const float *importance,
                            const uint8_t *fits) {
  const sb_tiling *tiling = m->tiling;
  (void)stream;
  SB_TRY(sb_check_blocks("move_grids", tiling, m->bits, 0));
  const size_t columns = sb_tiling_block_cols(tiling);
#pragma omp parallel for num_threads(sb_cpu_threads(backend)) schedule(static)
  for (size_t r = 0; r < tiling->rows; r++)
    for (size_t j = 0; j < columns; j++) {
      float room[SB_GROUP_MAX];
      const size_t first = j * tiling->block_cols, n = sb_tiling_cols_of(tiling, j),
                   g = r * columns + j;
      const unsigned here = m->bits[r / tiling->block_rows * columns + j];
      if (here == 0) continue;
      const float *x = lanes_floats(room, m->w, m->dtype, r * tiling->cols + first, n);
      for (unsigned b = sb_move_down(here); b <= sb_move_up(here); b++) {
        const sb_grid grid = b == here && fits ? cpu_grid_of(x, n, b, m->code_kind, fits[g])
                                               : cpu_grid_for(x, fits ? importance : NULL, first, n,
                                                              b, m->code_kind);
        grids[SB_MOVES * g + 1 + b - here] = sb_grid_store(&grid);
      }
    }
  return SB_OK;
}
