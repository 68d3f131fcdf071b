/* kernels/grid.h, sixteen weights at a time: the same groups, codes and values, to the bit. */
#ifndef SB_KERNELS_CPU_CPU_GRID_H
#define SB_KERNELS_CPU_CPU_GRID_H

#include "kernels/cpu/lanes.h"
#include "kernels/grid.h"

/* *lo = min(w, 0), *hi = max(w, 0). */
SB_LANES_INLINE void cpu_range(const float *w, size_t n, float *lo, float *hi) {
  lanes low = lanes_set(0.0f), high = low;
  for (size_t i = 0; i < n; i += LANES) {
    const lanes x = lanes_load(w + i, lanes_first(n - i));
    low = lanes_min(x, low);
    high = lanes_max(x, high);
  }
  *lo = lanes_lowest(low);
  *hi = lanes_highest(high);
}

/* sb_grid_sum. */
SB_LANES_INLINE float cpu_sum(const float *w, size_t n, float centre, bool absolute) {
  lanes sum[2] = {lanes_set(0.0f), lanes_set(0.0f)};
  const lanes c = lanes_set(centre);
  for (size_t i = 0; i < n; i += LANES) {
    const lanes_mask m = lanes_first(n - i);
    const lanes x = lanes_load(w + i, m);
    const lanes y = absolute ? lanes_only(m, lanes_abs(lanes_sub(x, c))) : x;
    sum[i / LANES % 2] = lanes_add(sum[i / LANES % 2], y);
  }
  return lanes_sum(lanes_add(sum[0], sum[1]));
}

SB_LANES_INLINE sb_group cpu_group_one(const float *w, size_t n, sb_symmetry symmetry) {
  uint16_t mean;
  if (symmetry == SB_SYMMETRIC) return sb_group_midrise_one(cpu_sum(w, n, 0.0f, true) / (float)n);
  mean = sb_grid_half(cpu_sum(w, n, 0.0f, false) / (float)n);
  return sb_group_sign(mean, cpu_sum(w, n, sb_grid_half_value(mean), true) / (float)n);
}

/* The group of b >= 2 bits of weights in lo <= 0 .. hi >= 0. */
SB_LANES_INLINE sb_group cpu_group_range(float lo, float hi, unsigned bits, sb_symmetry symmetry) {
  if (symmetry == SB_SYMMETRIC) return sb_group_midrise(-lo > hi ? -lo : hi, bits);
  return sb_group_affine(lo, hi, bits);
}

/* sb_group_choose. */
SB_LANES_INLINE sb_group cpu_group_choose(const float *w, size_t n, unsigned bits, sb_symmetry symmetry) {
  float lo, hi;
  if (bits == 1) return cpu_group_one(w, n, symmetry);
  cpu_range(w, n, &lo, &hi);
  return cpu_group_range(lo, hi, bits, symmetry);
}

/* sb_grid_code, as whole floats. */
SB_LANES_INLINE lanes cpu_codes(const sb_grid *grid, sb_grid_kind kind, lanes w) {
  lanes x;
  if (kind == SB_GRID_SIGN) return lanes_where_ge(w, lanes_set(grid->zero), lanes_set(1.0f), lanes_set(0.0f));
  x = lanes_mul(w, lanes_set(grid->inverse));
  if (kind == SB_GRID_AFFINE)
    x = lanes_add(lanes_rint(x), lanes_set(grid->zero));
  else
    x = lanes_add(lanes_floor(x), lanes_set(0.5f * (grid->top + 1.0f)));
  return lanes_min(lanes_max(x, lanes_set(0.0f)), lanes_set(grid->top));
}

/* sb_grid_value of whole floats. */
SB_LANES_INLINE lanes cpu_values(const sb_grid *grid, sb_grid_kind kind, lanes codes) {
  if (kind == SB_GRID_SIGN)
    return lanes_where_ge(codes, lanes_set(1.0f), lanes_set(grid->zero + grid->scale),
                          lanes_set(grid->zero - grid->scale));
  return lanes_mul(lanes_sub(codes, lanes_set(grid->zero)), lanes_set(grid->scale));
}

#endif
