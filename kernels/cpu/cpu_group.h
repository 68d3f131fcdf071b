/* kernels/shared/grid.h over sixteen weights at a time, with the same bits: a group's statistics,
 * grid, fit, codes and values. Used by the block operations of the CPU and by the alphabet of
 * grids. */
#ifndef SB_KERNELS_CPU_CPU_GROUP_H
#define SB_KERNELS_CPU_CPU_GROUP_H

#include "kernels/cpu/lanes.h"
#include "kernels/shared/grid.h"

_Static_assert((int)LANES == (int)SB_GROUP_LANES, "means are defined in as many lanes");

/* Mean of w, or of |w - centre| where `absolute`. */
SB_LANES_INLINE float cpu_group_mean(const float *w, size_t n, float centre, bool absolute) {
  lanes sum = lanes_set(0.0f);
  const lanes c = lanes_set(centre);
  for (size_t i = 0; i < n; i += LANES) {
    const lanes_mask m = lanes_first(n - i);
    const lanes x = lanes_load(w + i, m);
    sum = lanes_add(sum, absolute ? lanes_only(m, lanes_abs(lanes_sub(x, c))) : x);
  }
  return lanes_sum(sum) / (float)n;
}

/* The statistics of a group. `low_high` asks for its low and high, `one_bit` for the means that
 * 1-bit grids of `code_kind` need. */
SB_LANES_INLINE sb_group_range cpu_group_range(const float *w, size_t n, bool low_high,
                                               bool one_bit, sb_code_kind code_kind) {
  sb_group_range range = {0};
  if (low_high || sb_one_bit_has_range(code_kind)) {
    lanes low = lanes_set(0.0f), high = low;
    for (size_t i = 0; i < n; i += LANES) {
      const lanes x = lanes_load(w + i, lanes_first(n - i));
      low = lanes_min(x, low);
      high = lanes_max(x, high);
    }
    range.low = lanes_lowest(low);
    range.high = lanes_highest(high);
  }
  if (one_bit && sb_grid_levels_at(code_kind, 1) == SB_GRID_SYMMETRIC)
    range.mean_magnitude = cpu_group_mean(w, n, 0.0f, true);
  if (one_bit && sb_has_base(code_kind, 1)) {
    range.mean = sb_grid_base(cpu_group_mean(w, n, 0.0f, false), code_kind);
    range.spread = cpu_group_mean(w, n, range.mean, true);
  }
  return range;
}

/* The grid of one group at `bits`, with its range shrunk to the candidate `fit` (0: full range). */
SB_LANES_INLINE sb_grid cpu_grid_of(const float *w, size_t n, unsigned bits, sb_code_kind code_kind,
                                    unsigned fit) {
  const sb_group_range range = cpu_group_range(w, n, bits > 1, bits == 1, code_kind);
  return sb_grid_fitted(&range, bits, code_kind, fit);
}

/* sb_grid_code of sixteen weights. */
SB_LANES_INLINE lanes cpu_grid_codes(const sb_grid *grid, lanes w) {
  const lanes x = lanes_fma(lanes_sub(w, lanes_set(grid->base)), lanes_set(grid->inverse),
                            lanes_set(grid->center));
  return lanes_rint(lanes_min(lanes_max(x, lanes_set(0.0f)), lanes_set(grid->top)));
}

/* sb_grid_value of sixteen codes. */
SB_LANES_INLINE lanes cpu_grid_values(const sb_grid *grid, lanes codes) {
  return lanes_fma(lanes_sub(codes, lanes_set(grid->center)), lanes_set(grid->scale),
                   lanes_set(grid->base));
}

/* Fits tried together. Each has its own chain of sums, so that none waits for another. */
enum { CPU_FITS_AT_ONCE = SB_FITS / 4 };

/* errors[k] = sum of importance x (value - w)^2 on grid k, for `count` grids. Fitted grids have no
 * base, so a value is exact, and the fused operation gives value - w rounded once. */
SB_LANES_INLINE void cpu_grid_errors(float *errors, const sb_grid *grids, int count, const float *w,
                                     const float *importance, size_t n) {
  const lanes zero = lanes_set(0.0f);
  lanes sums[CPU_FITS_AT_ONCE];
  for (int k = 0; k < count; k++) sums[k] = zero;
  for (size_t i = 0; i < n; i += LANES) {
    const lanes_mask m = lanes_first(n - i);
    const lanes x = lanes_load(w + i, m), minus = lanes_sub(zero, x),
                weight = lanes_load(importance + i, m);
    for (int k = 0; k < count; k++) {
      const lanes center = lanes_set(grids[k].center);
      const lanes code =
          lanes_rint(lanes_min(lanes_max(lanes_fma(x, lanes_set(grids[k].inverse), center), zero),
                               lanes_set(grids[k].top)));
      const lanes e = lanes_fma(lanes_sub(code, center), lanes_set(grids[k].scale), minus);
      sums[k] = lanes_fma(lanes_mul(e, weight), e, sums[k]); /* weight is 0 outside the row */
    }
  }
  for (int k = 0; k < count; k++) errors[k] = lanes_sum(sums[k]);
}

/* The steps first .. first + count - 1 of a search. They must not depend on each other. */
SB_LANES_INLINE void cpu_fit_steps(sb_fit_search *search, int first, int count,
                                   const sb_group_range *range, unsigned bits,
                                   sb_code_kind code_kind, const float *w, const float *importance,
                                   size_t n) {
  sb_grid grids[CPU_FITS_AT_ONCE];
  float errors[CPU_FITS_AT_ONCE];
  int fits[CPU_FITS_AT_ONCE];
  for (int k = 0; k < count; k++) {
    fits[k] = sb_fit_candidate(search, first + k);
    grids[k] = sb_grid_fitted(range, bits, code_kind, fits[k] < 0 ? 0u : (unsigned)fits[k]);
  }
  cpu_grid_errors(errors, grids, count, w, importance, n);
  for (int k = 0; k < count; k++) sb_fit_seen(search, fits[k], errors[k]);
}

/* The fit of one group at `bits`, as kernels/shared/grid.h defines it. */
static inline uint8_t cpu_group_fit(const float *w, const float *importance, size_t n,
                                    unsigned bits, sb_code_kind code_kind) {
  if (bits <= 1) return 0;
  const sb_group_range range = cpu_group_range(w, n, true, false, code_kind);
  sb_fit_search search = sb_fit_begin();
  cpu_fit_steps(&search, 0, CPU_FITS_AT_ONCE, &range, bits, code_kind, w, importance, n);
  for (int step = CPU_FITS_AT_ONCE; step < SB_FIT_STEPS; step += 2)
    cpu_fit_steps(&search, step, 2, &range, bits, code_kind, w, importance, n);
  return (uint8_t)search.best;
}

/* The grid of n weights, of the columns first, first + 1, ... It is fitted unless `importance`,
 * which covers all columns, is NULL. */
static inline sb_grid cpu_grid_for(const float *w, const float *importance, size_t first, size_t n,
                                   unsigned bits, sb_code_kind code_kind) {
  const unsigned fit = importance ? cpu_group_fit(w, importance + first, n, bits, code_kind) : 0;
  return cpu_grid_of(w, n, bits, code_kind, fit);
}

#endif
