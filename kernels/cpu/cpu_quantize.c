#include "kernels/cpu/cpu_blocks.h"
#include "kernels/cpu/cpu_grid.h"

/* One group: out[first .. first + n) = Q_bits(w). */
static void quantize_group(void *out, sb_dtype out_dtype, size_t first, const float *w, size_t n, unsigned bits,
                           sb_symmetry symmetry) {
  const sb_grid_kind kind = sb_grid_kind_of(bits, symmetry);
  sb_grid grid = {0};
  if (bits > 0) grid = sb_grid_open(cpu_group_choose(w, n, bits, symmetry), bits, symmetry);
  for (size_t i = 0; i < n; i += LANES) {
    const lanes_mask m = lanes_first(n - i);
    lanes x = lanes_load(w + i, m);
    if (bits > 0) x = cpu_values(&grid, kind, cpu_codes(&grid, kind, x));
    lanes_store_as(out, out_dtype, first + i, m, x);
  }
}

sb_status sb_cpu_quantize_blocks(sb_backend *backend, sb_stream stream, void *out, sb_dtype out_dtype, const void *w,
                                 sb_dtype w_dtype, const sb_grid_shape *grid, const uint8_t *bits,
                                 sb_symmetry symmetry) {
  const int threads = sb_cpu_block_threads(backend);
  const size_t strips = sb_grid_block_rows(grid) * sb_cpu_strips_across(grid);
  const size_t room_size = sb_min_size(grid->block_cols, grid->cols);
  float *rooms = NULL;
  (void)stream;
  SB_TRY(sb_cpu_check_blocks("quantize_blocks", grid, bits, 0, symmetry));
  SB_TRY(sb_alloc_raw(&rooms, room_size * (size_t)threads, sizeof *rooms, "rows of weights"));
#pragma omp parallel for schedule(static) num_threads(threads)
  for (size_t index = 0; index < strips; index++) {
    const sb_cpu_strip s = sb_cpu_strip_at(grid, index);
    float *room = rooms + room_size * (size_t)omp_get_thread_num();
    for (size_t r = s.row; r < s.row + s.rows; r++)
      for (size_t j = 0; j < s.blocks; j++) {
        const size_t col = j * grid->block_cols, n = sb_min_size(grid->block_cols, s.cols - col);
        const size_t first = r * grid->cols + s.col + col;
        quantize_group(out, out_dtype, first, lanes_floats(room, w, w_dtype, first, n), n, bits[s.block + j], symmetry);
      }
  }
  sb_free(&rooms);
  return SB_OK;
}
