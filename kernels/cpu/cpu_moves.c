/* What moving each block up or down by one bit does to <g, W>: one pass over g and w. */
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/cpu_group.h"

typedef struct moves {
  double raise, cut;
} moves;

/* One row of one block. `now` is the current weights where they are not the nearest codes, else NULL. Both directions
 * are always computed: a branch per group costs more than the arithmetic of a direction that is not wanted. */
static moves score_group(const float *w, const float *g, const float *now, size_t n, size_t padded, unsigned bits, unsigned down, unsigned up,
                         sb_symmetry symmetry) {
  sb_group_range range;
  sb_cpu_group_range(w, n, padded, down == 1, &range);
  const sb_group here = sb_group_choose(&range, bits, symmetry), lower = sb_group_choose(&range, down, symmetry),
                 upper = sb_group_choose(&range, up, symmetry);
  float raise[SB_LANES] = {0}, cut[SB_LANES] = {0};
  for (size_t c = 0; c < padded; c += SB_LANES)
    for (int i = 0; i < SB_LANES; i++) {
      float x = w[c + i], y = g[c + i];
      float current = now ? now[c + i] : sb_group_value(&here, sb_group_code(&here, x));
      raise[i] = __builtin_fmaf(y, sb_group_value(&upper, sb_group_code(&upper, x)) - current, raise[i]);
      cut[i] = __builtin_fmaf(y, sb_group_value(&lower, sb_group_code(&lower, x)) - current, cut[i]);
    }
  return (moves){sb_cpu_add_lanes(raise), sb_cpu_add_lanes(cut)};
}

sb_status sb_cpu_block_moves(sb_backend *backend, sb_stream stream, double *raise, double *cut, const float *g, size_t ldg, const void *w,
                             sb_dtype w_dtype, const void *now, sb_dtype now_dtype, const sb_grid_shape *grid, const uint8_t *bits,
                             unsigned min_bits, unsigned max_bits, sb_symmetry symmetry) {
  (void)stream;
  size_t block_rows = sb_grid_block_rows(grid), block_cols = sb_grid_block_cols(grid);
  if (grid->block_cols > SB_GROUP_MAX)
    return sb_fail(SB_ERR_UNSUPPORTED, "blocks of %zu columns: at most %d are supported", grid->block_cols, SB_GROUP_MAX);
#pragma omp parallel for collapse(2) num_threads(sb_cpu_threads(backend)) schedule(static)
  for (size_t i = 0; i < block_rows; i++)
    for (size_t j = 0; j < block_cols; j++) {
      float weights[SB_GROUP_MAX], gradient[SB_GROUP_MAX], current[SB_GROUP_MAX];
      size_t n = sb_grid_cols_of(grid, j), k = i * block_cols + j;
      unsigned b = bits[k], down = b > 1 ? b - 1 : 1, up = b < SB_MAX_BITS ? b + 1 : SB_MAX_BITS;
      double up_sum = 0, down_sum = 0;
      for (size_t r = 0; r < sb_grid_rows_of(grid, i); r++) {
        size_t row = i * grid->block_rows + r, at = row * grid->cols + j * grid->block_cols;
        size_t padded = sb_cpu_load_group(weights, w, w_dtype, at, n);
        const float *y = g + row * ldg + j * grid->block_cols;
        if (padded != n) {
          sb_cpu_load_group(gradient, y, SB_F32, 0, n);
          y = gradient;
        }
        if (now) sb_cpu_load_group(current, now, now_dtype, at, n);
        moves m = score_group(weights, y, now ? current : NULL, n, padded, b, down, up, symmetry);
        up_sum += m.raise;
        down_sum += m.cut;
      }
      raise[k] = b + 1 > max_bits ? 0.0 : up_sum;
      cut[k] = b < min_bits + 1 ? 0.0 : down_sum;
    }
  return SB_OK;
}
