/* The change of <g, W> if a block moves up or down by one bit: one pass over g and w, with grids
 * chosen before.
 *
 * Products with g are summed in sixteen float lanes along a row of a block, and the lanes in double
 * down the block: an order that depends on the block alone. */
#include "kernels/cpu/cpu_blocks.h"
#include "kernels/cpu/cpu_group.h"

typedef struct moves {
  lanes_total raise, cut;
} moves;

typedef struct sb_move_grids {
  sb_grid here, down, up;
} move_grids;

/* code - center. The base of a grid is 0 unless `based`. */
SB_LANES_INLINE lanes steps(const sb_grid *grid, lanes w, bool based) {
  const lanes x = based ? lanes_sub(w, lanes_set(grid->base)) : w;
  const lanes code = lanes_fma(x, lanes_set(grid->inverse), lanes_set(grid->center));
  return lanes_sub(lanes_rint(lanes_min(lanes_max(code, lanes_set(0.0f)), lanes_set(grid->top))),
                   lanes_set(grid->center));
}

/* value - now. Without a base the value is exact, so the fused form gives the same number. */
SB_LANES_INLINE lanes change(const sb_grid *grid, lanes w, lanes now, bool based) {
  const lanes q = steps(grid, w, based), scale = lanes_set(grid->scale);
  if (based) return lanes_sub(lanes_fma(q, scale, lanes_set(grid->base)), now);
  return lanes_fma(q, scale, lanes_sub(lanes_set(0.0f), now));
}

/* One row of one block. */
SB_LANES_INLINE void score_group(moves *sums, const move_grids *grids, const float *w,
                                 const float *g, size_t n, bool based_here, bool based_down) {
  lanes raise = lanes_set(0.0f), cut = raise;
  for (size_t i = 0; i < n; i += LANES) {
    const lanes_mask m = lanes_first(n - i);
    const lanes x = lanes_load(w + i, m), y = lanes_load(g + i, m);
    const lanes current = lanes_fma(steps(&grids->here, x, based_here),
                                    lanes_set(grids->here.scale), lanes_set(grids->here.base));
    raise = lanes_fma(y, change(&grids->up, x, current, false), raise);
    cut = lanes_fma(y, change(&grids->down, x, current, based_down), cut);
  }
  lanes_add_to(&sums->raise, raise);
  lanes_add_to(&sums->cut, cut);
}

typedef struct job {
  const float *g;
  size_t ldg;
  const sb_block_weights *m;
  const sb_stored_grid *grids; /* SB_MOVES per group */
} job;

/* Row r of block column j. Both directions are always computed: a branch per group costs more than
 * the arithmetic of an unused direction. */
static void score_row(moves *sums, const job *a, size_t r, size_t j, unsigned bits) {
  float room[SB_GROUP_MAX];
  const sb_tiling *tiling = a->m->tiling;
  const size_t at = r * tiling->cols + j * tiling->block_cols, n = sb_tiling_cols_of(tiling, j);
  const float *w = lanes_floats(room, a->m->w, a->m->dtype, at, n);
  const float *g = a->g + r * a->ldg + j * tiling->block_cols;
  const unsigned down = sb_move_down(bits), up = sb_move_up(bits);
  const sb_stored_grid *stored = a->grids + SB_MOVES * (r * sb_tiling_block_cols(tiling) + j) + 1;
  const move_grids grids = {.here = sb_grid_load(stored, bits),
                            .down = sb_grid_load(stored + down - bits, down),
                            .up = sb_grid_load(stored + up - bits, up)};
  if (sb_has_base(a->m->code_kind, down))
    score_group(sums, &grids, w, g, n, bits == 1, true);
  else
    score_group(sums, &grids, w, g, n, false, false);
}

sb_status sb_cpu_block_moves(sb_backend *backend, sb_stream stream, double *raise, double *cut,
                             const float *g, size_t ldg, const sb_block_weights *m,
                             const sb_stored_grid *grids, unsigned min_bits, unsigned max_bits) {
  const sb_tiling *tiling = m->tiling;
  const uint8_t *bits = m->bits;
  const job a = {g, ldg, m, grids};
  (void)stream;
  SB_TRY(sb_check_blocks("block_moves", tiling, bits, 1));
  const size_t strips = sb_cpu_strips(tiling), columns = sb_tiling_block_cols(tiling);
#pragma omp parallel for num_threads(sb_cpu_threads(backend)) schedule(static)
  for (size_t index = 0; index < strips; index++) {
    const sb_cpu_strip s = sb_cpu_strip_at(tiling, index);
    moves sums[SB_CPU_STRIP];
    memset(sums, 0, sizeof sums);
    for (size_t r = s.row; r < s.row + s.rows; r++)
      for (size_t j = 0; j < s.blocks; j++)
        score_row(&sums[j], &a, r, s.block % columns + j, bits[s.block + j]);
    for (size_t j = 0; j < s.blocks; j++) {
      const size_t k = s.block + j;
      raise[k] = bits[k] + 1u > max_bits ? 0.0 : lanes_total_sum(&sums[j].raise);
      cut[k] = bits[k] < min_bits + 1 ? 0.0 : lanes_total_sum(&sums[j].cut);
    }
  }
  return SB_OK;
}
