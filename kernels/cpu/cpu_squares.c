/* The cost of rounding a block to each width, by squares of gradients: one pass over g and w for
 * all widths. Grids are chosen apart (choose_grids): they depend on the weights only, and the same
 * weights meet many gradients. */
#include "kernels/cpu/cpu_blocks.h"
#include "kernels/cpu/cpu_group.h"

/* One row of one block at one width. Without a base the value is exact, so the fused form gives the
 * same number with fewer operations. Outside the row g is 0, but the error need not be. */
SB_LANES_INLINE void add_row(lanes_total *sum, const sb_grid *grid, bool based, const float *w,
                             const float *g, size_t n) {
  const lanes zero = lanes_set(0.0f), inverse = lanes_set(grid->inverse),
              center = lanes_set(grid->center);
  const lanes top = lanes_set(grid->top), scale = lanes_set(grid->scale),
              base = lanes_set(grid->base);
  lanes total = zero;
  for (size_t i = 0; i < n; i += LANES) {
    const lanes_mask m = lanes_first(n - i);
    const lanes x = lanes_load(w + i, m), y = based ? lanes_sub(x, base) : x;
    const lanes code = lanes_rint(lanes_min(lanes_max(lanes_fma(y, inverse, center), zero), top));
    const lanes level = lanes_sub(code, center);
    const lanes error = based ? lanes_sub(lanes_fma(level, scale, base), x)
                              : lanes_fma(level, scale, lanes_sub(zero, x));
    const lanes step = lanes_mul(lanes_load(g + i, m), error);
    total = lanes_fma(step, step, total);
  }
  lanes_add_to(sum, total);
}

static void add_squares(lanes_total *sum, const sb_stored_grid *stored, unsigned bits,
                        const float *w, const float *g, size_t n) {
  const sb_grid grid = sb_grid_load(stored, bits);
  if (grid.base == 0.0f)
    add_row(sum, &grid, false, w, g, n);
  else
    add_row(sum, &grid, true, w, g, n);
}

sb_status sb_cpu_block_squares(sb_backend *backend, sb_stream stream, double (*loss)[SB_WIDTHS],
                               const float *g, size_t ldg, const sb_block_weights *m,
                               const sb_stored_grid *grids, unsigned min_bits, unsigned max_bits) {
  const sb_tiling *tiling = m->tiling;
  (void)stream;
  SB_TRY(sb_check_widths("block_squares", tiling, min_bits, max_bits));
  const size_t columns = sb_tiling_block_cols(tiling), widths = max_bits - min_bits + 1;
  const size_t blocks = sb_tiling_block_rows(tiling) * columns;
#pragma omp parallel for num_threads(sb_cpu_threads(backend)) schedule(static)
  for (size_t k = 0; k < blocks; k++) {
    const size_t i = k / columns, j = k % columns, n = sb_tiling_cols_of(tiling, j);
    lanes_total sums[SB_MAX_BITS];
    memset(sums, 0, sizeof sums);
    for (size_t r = i * tiling->block_rows;
         r < i * tiling->block_rows + sb_tiling_rows_of(tiling, i); r++) {
      float room[SB_GROUP_MAX];
      const float *x =
          lanes_floats(room, m->w, m->dtype, r * tiling->cols + j * tiling->block_cols, n);
      for (size_t b = 0; b < widths; b++)
        add_squares(&sums[b], &grids[(r * columns + j) * widths + b], min_bits + (unsigned)b, x,
                    g + r * ldg + j * tiling->block_cols, n);
    }
    for (size_t b = 0; b < widths; b++) loss[k][min_bits + b] = lanes_total_sum(&sums[b]);
  }
  return SB_OK;
}
