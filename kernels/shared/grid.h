/* The grids weights are rounded to: one definition for every path (rounding, move scores, packing,
 * unpacking), usable from C and CUDA C++.
 *
 * A *group* is one row of one block. With b bits it has the levels
 *
 *   value(code) = (code - center) * scale + base,   code = 0 .. 2^b - 1
 *
 * - asymmetric, b >= 2: scale = fp16((hi - lo) / (2^b - 1)) with lo = min(w, 0), hi = max(w, 0);
 *   center = the zero point, rint(-lo / scale) within 0 .. 2^b - 1; base = 0. Stored: scale (16
 *   bits), zero point (b bits).
 * - asymmetric, b = 1: sign x mean magnitude around the mean. base = fp16(mean w), scale = fp16(2
 *   mean |w - base|), center = 1/2. Stored: scale and base (32 bits).
 * - symmetric: scale = fp16(2 max|w| / (2^b - 1)), for b = 1 fp16(2 mean |w|); center = (2^b - 1) /
 *   2. The levels lie midway, so that b = 1 is sign x magnitude. Stored: scale (16 bits).
 *
 * The code of a weight is the nearest level, ties to the even code.
 *
 * fp16's limits: a number beyond 65504 is cut to that. A step from a range (b >= 2) below the
 * smallest normal fp16 number, 2^-14, where fp16 gets coarse, is rounded up instead of to nearest:
 * the outermost weights are not cut off, and a step is 0 only where all weights are 0. A group
 * whose scale is 0 becomes `base`.
 *
 * Exactness: code - center is a whole or half number of at most 9 bits and a scale has 11, so
 * without a base a value is exact in float: fused or not, a product with it has the same bits.
 * Where rounding matters fmaf says so.
 *
 * Fitted grids. The range of a group (b >= 2) may be shrunk before the step is taken from it: fit f
 * stands for the share 1 - f / 32 of its low and high, f = 0 .. SB_FITS - 1; what lies outside is
 * cut off. The fit is the one whose grid makes the least sum of importance x (rounding error)^2
 * over the group, among those looked at: first every fourth from 0, then the neighbours at distance
 * 2 of the best so far, then at distance 1; the lower fit where two are equal. Importance is a
 * positive number a column; for a matrix with inputs x, the mean of x^2 makes the sum the error of
 * the outputs, as far as inputs are uncorrelated.
 *
 * Means and sums are sums in SB_GROUP_LANES lanes: lane i adds the weights i, i + 16, i + 32, ...
 * in order, starting from 0; then lanes i and i + 8 are added, then i and i + 4, 2, 1; at last
 * comes a division by their number. */
#ifndef SB_KERNELS_SHARED_GRID_H
#define SB_KERNELS_SHARED_GRID_H

#include <math.h>
#include <stdint.h>

#include "base/device.h"
#include "base/dtype.h"
#include "kernels/shared/grid_types.h"

#define SB_GRID_FN SB_HOST_DEVICE static inline
#if defined(__CUDACC__)
#include <cuda_fp16.h>
#elif defined(__F16C__)
#include <immintrin.h>
#endif

enum {
  SB_GROUP_MAX = 1024, /* columns of a block, at most */
  SB_GROUP_LANES = 16,
  SB_FITS = 24,                  /* candidates of a fitted range */
  SB_FIT_STEPS = SB_FITS / 4 + 4 /* of them that are looked at, at most */
};

/* What the parameters of a group are chosen from. */
typedef struct sb_group_range {
  float low, high;      /* min(w, 0), max(w, 0) */
  float mean, spread;   /* fp16(mean w), mean |w - that|: for asymmetric b = 1 */
  float mean_magnitude; /* mean |w|: for symmetric b = 1 */
} sb_group_range;

/* The value of an fp16 number, and the nearest fp16 number (ties to even): the same bits on every
 * path. */
SB_GRID_FN float sb_grid_from_fp16(uint16_t half) {
#if defined(__CUDA_ARCH__)
  return __half2float(__ushort_as_half(half));
#elif defined(__F16C__) && !defined(__CUDACC__)
  return _cvtsh_ss(half);
#else
  return sb_f16_to_f32(half);
#endif
}
SB_GRID_FN uint16_t sb_grid_to_fp16(float value) {
#if defined(__CUDA_ARCH__)
  return __half_as_ushort(__float2half_rn(value));
#elif defined(__F16C__) && !defined(__CUDACC__)
  return (uint16_t)_cvtss_sh(value, _MM_FROUND_TO_NEAREST_INT);
#else
  return sb_f32_to_f16(value);
#endif
}

/* rintf for 0 <= x <= 2^22: on GPUs two additions are faster. */
SB_GRID_FN float sb_grid_rint(float x) {
#if defined(__CUDA_ARCH__)
  return (x + 0x1.8p23f) - 0x1.8p23f;
#else
  return rintf(x);
#endif
}

/* A mean or magnitude as fp16 keeps it. */
SB_GRID_FN float sb_grid_fp16(float value) {
  const float limit = 65504.0f;
  return sb_grid_from_fp16(sb_grid_to_fp16(value > limit    ? limit
                                           : value < -limit ? -limit
                                                            : value));
}
/* A step >= 0 as fp16 keeps it: never below the step where fp16 is subnormal. */
SB_GRID_FN float sb_grid_step(float value) {
  const float nearest = sb_grid_fp16(value);
  return value < 0x1p-14f && nearest < value ? nearest + 0x1p-24f : nearest;
}

SB_GRID_FN sb_grid sb_grid_make(float scale, float center, float base, unsigned bits) {
  sb_grid grid;
  grid.scale = scale;
  grid.inverse = scale > 0.0f ? 1.0f / scale : 0.0f;
  grid.center = center;
  grid.base = base;
  grid.top = (float)((1u << bits) - 1u);
  return grid;
}

SB_GRID_FN sb_grid sb_grid_choose(const sb_group_range *range, unsigned bits,
                                  sb_symmetry symmetry) {
  const float top = (float)((1u << bits) - 1u);
  sb_grid grid;
  if (symmetry == SB_SYMMETRIC) {
    const float largest = range->high > -range->low ? range->high : -range->low;
    const float scale =
        bits == 1 ? sb_grid_fp16(2.0f * range->mean_magnitude) : sb_grid_step(2.0f * largest / top);
    return sb_grid_make(scale, 0.5f * top, 0.0f, bits);
  }
  if (bits == 1) return sb_grid_make(sb_grid_fp16(2.0f * range->spread), 0.5f, range->mean, bits);
  grid = sb_grid_make(sb_grid_step((range->high - range->low) / top), 0.0f, 0.0f, bits);
  grid.center = rintf(-range->low * grid.inverse);
  grid.center = grid.center < top ? grid.center : top;
  return grid;
}

/* The same from a range shrunk to the candidate `fit`. */
SB_GRID_FN sb_grid sb_grid_fitted(const sb_group_range *range, unsigned bits, sb_symmetry symmetry,
                                  unsigned fit) {
  sb_group_range shrunk = *range;
  const float share = 1.0f - (float)fit * 0.03125f;
  shrunk.low *= share;
  shrunk.high *= share;
  return sb_grid_choose(&shrunk, bits, symmetry);
}

/* The widths next to `bits`; `bits` itself where there is none. */
SB_GRID_FN unsigned sb_move_down(unsigned bits) {
  return bits > SB_MIN_BITS ? bits - 1 : bits;
}
SB_GRID_FN unsigned sb_move_up(unsigned bits) {
  return bits < SB_MAX_BITS ? bits + 1 : bits;
}

/* A grid as it is stored, and back: nothing is lost. */
SB_GRID_FN sb_stored_grid sb_grid_store(const sb_grid *grid) {
  sb_stored_grid stored;
  stored.scale = sb_grid_to_fp16(grid->scale);
  stored.center = sb_grid_to_fp16(grid->center);
  stored.base = sb_grid_to_fp16(grid->base);
  return stored;
}
SB_GRID_FN sb_grid sb_grid_load(const sb_stored_grid *stored, unsigned bits) {
  return sb_grid_make(sb_grid_from_fp16(stored->scale), sb_grid_from_fp16(stored->center),
                      sb_grid_from_fp16(stored->base), bits);
}

/* The search for a fit, step by step: for step = 0 .. SB_FIT_STEPS - 1, the error of the candidate
 * that sb_fit_candidate names is given to sb_fit_seen; `best` is the fit then. Candidates outside 0
 * .. SB_FITS - 1 are passed over. */
typedef struct sb_fit_search {
  float least;
  int best, centre;
} sb_fit_search;

SB_GRID_FN sb_fit_search sb_fit_begin(void) {
  sb_fit_search search;
  search.least = INFINITY;
  search.best = search.centre = 0;
  return search;
}
SB_GRID_FN int sb_fit_candidate(sb_fit_search *search, int step) {
  const int side = step - SB_FITS / 4;
  if (side < 0) return 4 * step;
  if (side % 2 == 0) search->centre = search->best;
  return search->centre + (side % 2 == 0 ? -1 : 1) * (side < 2 ? 2 : 1);
}
SB_GRID_FN void sb_fit_seen(sb_fit_search *search, int fit, float error) {
  if (fit < 0 || fit >= SB_FITS) return;
  if (error < search->least || (error == search->least && fit < search->best)) {
    search->least = error;
    search->best = fit;
  }
}

/* The code, as a float holding an integer; 0 for NaN. */
SB_GRID_FN float sb_grid_code(const sb_grid *grid, float w) {
  float x = fmaf(w - grid->base, grid->inverse, grid->center);
#if defined(__CUDA_ARCH__)
  x = fminf(fmaxf(x, 0.0f), grid->top);
#else
  x = x > 0.0f ? x : 0.0f;
  x = x < grid->top ? x : grid->top;
#endif
  return sb_grid_rint(x);
}

SB_GRID_FN float sb_grid_value(const sb_grid *grid, float code) {
  return fmaf(code - grid->center, grid->scale, grid->base);
}

#endif
