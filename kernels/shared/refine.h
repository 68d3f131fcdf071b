/* The choices of refine_columns (kernels/ops/round.h), the same on every backend. */
#ifndef SB_KERNELS_SHARED_REFINE_H
#define SB_KERNELS_SHARED_REFINE_H

#include "kernels/shared/grid.h"

/* The best step along a vector v, given slope = v R' and curvature = v H v'; 0 if v H v' is not
 * positive. */
SB_GRID_FN float sb_refine_step(double slope, double curvature) {
  return curvature > 0 ? (float)(-slope / curvature) : 0.0f;
}

/* Scale and base are stored with few bits, so the best value is rounded to a candidate. The
 * candidate replaces the present value only if it is closer to the best: so the error never grows.
 */
SB_GRID_FN bool sb_refine_closer(float candidate, float now, float best) {
  return fabsf(candidate - best) < fabsf(now - best);
}

/* The group's scale, or base, after a step. A scale keeps its sign. */
SB_GRID_FN float sb_refine_scale(const sb_grid *grid, float step, sb_code_kind code_kind) {
  const float best = grid->scale + step, sign = grid->scale < 0 ? -1.0f : 1.0f, size = sign * best,
              scale = size > 0 ? sign * sb_grid_step(size, code_kind) : 0.0f;
  return scale != 0 && grid->scale != 0 && sb_refine_closer(scale, grid->scale, best) ? scale
                                                                                      : grid->scale;
}
SB_GRID_FN float sb_refine_base(const sb_grid *grid, float step, sb_code_kind code_kind) {
  const float best = grid->base + step, base = sb_grid_base(best, code_kind);
  return sb_refine_closer(base, grid->base, best) ? base : grid->base;
}

#endif
