/* The grids that weights are rounded to: one definition for every path (rounding, move scores,
 * packing, unpacking), for C and CUDA C++.
 *
 * A *group* is one row of one block. With b bits it has the levels
 *
 *   value(code) = (code - center) * scale + base,   code = 0 .. 2^b - 1
 *
 * Asymmetric, b >= 2, with lo = min(w, 0) and hi = max(w, 0):
 *
 *   scale  = fp16((hi - lo) / (2^b - 1))
 *   center = rint(-lo / scale) within 0 .. 2^b - 1: the zero point
 *   base   = 0
 *   stored: scale (16 bits), zero point (b bits)
 *
 * Asymmetric, b = 1: sign x mean magnitude around the mean.
 *
 *   scale  = fp16(2 mean |w - base|)
 *   center = 1/2
 *   base   = fp16(mean w)
 *   stored: scale and base (32 bits)
 *
 * Symmetric: levels lie at both sides of 0, none at 0, so b = 1 is sign x mean magnitude.
 *
 *   scale  = fp16(2 max |w| / (2^b - 1)), for b = 1 fp16(2 mean |w|)
 *   center = (2^b - 1) / 2
 *   base   = 0
 *   stored: scale (16 bits)
 *
 * Signed: a level at 0, 2^(b-1) levels at the side of it that reaches further, one less at the
 * other. The sign of the scale turns the grid to that side, as AutoRound (Intel) and MLX have it.
 *
 *   |scale| = fp16(max(far / 2^(b-1), near / (2^(b-1) - 1))), far and near: max and min of -lo, hi;
 *             for b = 1, which has no level at the near side, fp16(far)
 *   scale   = -|scale| where hi > -lo
 *   center  = 2^(b-1)
 *   base    = 0
 *   stored: scale (16 bits)
 *
 * By width: symmetric up to SB_HALF_STEP_BITS bits, signed above.
 *
 * Kinds of ..._BF16 have 8 significant bits wherever fp16 is said above: a number is rounded to
 * these (up where it would be rounded up to fp16), then to fp16. It is within fp16 and within bf16.
 * Kinds of ..._6BIT have scales of 5 significant bits in the same way, and bases of 11; their
 * scales take 6 bits (block_scale.h).
 *
 * The code of a weight is the nearest level, ties to the even code.
 *
 * Limits of fp16. Numbers beyond 65504 (65280 with 8 significant bits) are cut to it. Below its
 * smallest normal number, 2^-14, fp16 gets coarse. A step taken from a range (b >= 2) is rounded up
 * there instead of to nearest: so the outermost weights are not cut off, and a step is 0 only if
 * all weights are 0. A group of scale 0 becomes `base`.
 *
 * Zeros. min and max of +0 and -0 differ between processors and GPUs, so nothing here depends on
 * the sign of a zero, and no stored number is -0.
 *
 * Exactness. code - center is a whole or half number of at most 9 bits, and a scale has 11 bits. So
 * without a base a value is exact in float, and a product with it has the same bits fused or not.
 * Code whose rounding matters calls fmaf.
 *
 * Fitted grids. The range of a group (b >= 2) may be shrunk before the step is taken from it. Fit
 * f = 0 .. SB_FITS - 1 keeps the share 1 - f / 32 of lo and hi, and cuts off the weights outside.
 * The chosen fit has the least sum of importance x (rounding error)^2 over the group, among those
 * tried: first every fourth from 0, then the neighbours at distance 2 of the best so far, then
 * those at distance 1. The lower fit wins a tie. Importance is a positive number per column. For a
 * matrix with inputs x, importance = mean x^2 makes the sum the error of the outputs, if inputs are
 * uncorrelated.
 *
 * Order of sums. Sums and means run in SB_GROUP_LANES lanes: lane i adds the weights i, i + 16,
 * i + 32, ... in order, starting from 0. Then lanes i and i + 8 are added, then i and i + 4, 2, 1.
 * A mean divides by the number of weights last. */
#ifndef SB_KERNELS_SHARED_GRID_H
#define SB_KERNELS_SHARED_GRID_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "base/device.h"
#include "base/dtype.h"
#include "kernels/shared/code_traits.h"

#define SB_GRID_FN SB_HOST_DEVICE static inline
#if defined(__CUDACC__)
#include <cuda_fp16.h>
#elif defined(__F16C__)
#include <immintrin.h>
#endif

enum {
  SB_GROUP_MAX = 1024, /* most columns of a block */
  SB_GROUP_LANES = 16,
  SB_FITS = 24,                  /* candidates of a fitted range */
  SB_FIT_STEPS = SB_FITS / 4 + 4 /* most candidates that are tried */
};

/* The statistics of a group's weights that its grid is chosen from. */
typedef struct sb_group_range {
  float low, high;      /* min(w, 0), max(w, 0) */
  float mean, spread;   /* for asymmetric b = 1: the base, sb_grid_base(mean w); mean |w - base| */
  float mean_magnitude; /* for symmetric b = 1: mean |w| */
} sb_group_range;

/* Convert from fp16, and to fp16 (nearest, ties to even), with the same bits on every path. */
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

/* A finite value rounded to `significant` bits, 1 .. 23: to nearest, ties to even, or away from 0.
 */
SB_GRID_FN float sb_grid_significant(float value, unsigned significant, bool away) {
  const unsigned dropped = 24u - significant;
  const uint32_t all = (1u << dropped) - 1u;
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  bits += away ? all : (all >> 1) + (bits >> dropped & 1u);
  bits &= ~all;
  memcpy(&value, &bits, sizeof bits);
  return value;
}

/* A mean or magnitude, rounded to fp16 within its limits; never -0. */
SB_GRID_FN float sb_grid_fp16(float value) {
  const float limit = 65504.0f;
  return 0.0f + sb_grid_from_fp16(sb_grid_to_fp16(value > limit    ? limit
                                                  : value < -limit ? -limit
                                                                   : value));
}
/* The largest fp16 number of so many significant bits, at most 11. */
SB_GRID_FN float sb_grid_limit(unsigned significant) {
  return 65536.0f - (float)(1u << (16u - significant));
}
/* A mean or magnitude, rounded to fp16 numbers of so many significant bits. */
SB_GRID_FN float sb_grid_number(float value, unsigned significant) {
  const float limit = sb_grid_limit(significant);
  if (significant > 10u) return sb_grid_fp16(value);
  if (!(fabsf(value) < limit))
    return sb_grid_fp16(value > 0.0f ? limit : value < 0.0f ? -limit : value);
  return sb_grid_fp16(sb_grid_significant(value, significant, false));
}
/* A scale that is given, and a base, rounded to the type of the kind. */
SB_GRID_FN float sb_grid_scale(float value, sb_code_kind code_kind) {
  return sb_grid_number(value, sb_scale_significant_bits(code_kind));
}
SB_GRID_FN float sb_grid_base(float value, sb_code_kind code_kind) {
  return sb_grid_number(value, sb_base_significant_bits(code_kind));
}
/* A step >= 0, rounded to the type of a kind's scales: up where fp16 is subnormal. Rounding up to
 * fewer bits first leaves a second rounding only where a step of fp16 has fewer still. */
SB_GRID_FN float sb_grid_step(float value, sb_code_kind code_kind) {
  const unsigned significant = sb_scale_significant_bits(code_kind);
  const bool coarse = value < 0x1p-14f;
  if (coarse && significant <= 10u) value = sb_grid_significant(value, significant, true);
  const float nearest = sb_grid_number(value, significant);
  return coarse && nearest < value ? nearest + 0x1p-24f : nearest;
}

SB_GRID_FN sb_grid sb_grid_make(float scale, float center, float base, unsigned bits) {
  sb_grid grid;
  grid.scale = scale;
  grid.inverse = scale > 0.0f || scale < 0.0f ? 1.0f / scale : 0.0f;
  grid.center = center;
  grid.base = base;
  grid.top = (float)((1u << bits) - 1u);
  return grid;
}

/* The signed grid from a range shrunk to `share` of it. */
SB_GRID_FN sb_grid sb_grid_signed(const sb_group_range *range, float share, unsigned bits,
                                  sb_code_kind code_kind) {
  const float center = sb_grid_middle(code_kind, bits), low = fabsf(range->low);
  const bool turned = range->high > low;
  const float far = (turned ? range->high : low) * share / center,
              near = bits > 1 ? (turned ? low : range->high) * share / (center - 1.0f) : 0.0f;
  const float scale = sb_grid_step(far > near ? far : near, code_kind);
  return sb_grid_make(turned ? -scale : scale, center, 0.0f, bits);
}

/* The grid from a range shrunk to `share` of it. Both ends are rounded before they are added: as
 * plain products, one of them could be fused with the sum, and each compiler would choose its own.
 * fmaf(x, y, 0) is a product that no compiler fuses. */
SB_GRID_FN sb_grid sb_grid_shrunk(const sb_group_range *range, float share, unsigned bits,
                                  sb_code_kind code_kind) {
  const float top = (float)((1u << bits) - 1u);
  sb_grid grid;
  if (sb_grid_levels_at(code_kind, bits) == SB_GRID_SIGNED)
    return sb_grid_signed(range, share, bits, code_kind);
  if (sb_grid_levels_at(code_kind, bits) == SB_GRID_SYMMETRIC) {
    const float low = fabsf(range->low), largest = range->high > low ? range->high : low;
    const float scale = bits == 1 ? sb_grid_scale(2.0f * range->mean_magnitude, code_kind)
                                  : sb_grid_step(2.0f * (largest * share) / top, code_kind);
    return sb_grid_make(scale, 0.5f * top, 0.0f, bits);
  }
  if (bits == 1)
    return sb_grid_make(sb_grid_scale(2.0f * range->spread, code_kind), 0.5f, range->mean, bits);
  const float below = fmaf(fabsf(range->low), share, 0.0f);
  const float above = fmaf(range->high, share, 0.0f);
  grid = sb_grid_make(sb_grid_step((above + below) / top, code_kind), 0.0f, 0.0f, bits);
  grid.center = rintf(below * grid.inverse);
  grid.center = grid.center < top ? grid.center : top;
  return grid;
}

/* The grid of a group with these statistics. */
SB_GRID_FN sb_grid sb_grid_choose(const sb_group_range *range, unsigned bits,
                                  sb_code_kind code_kind) {
  return sb_grid_shrunk(range, 1.0f, bits, code_kind);
}

/* The grid from a range shrunk to the candidate `fit`. */
SB_GRID_FN sb_grid sb_grid_fitted(const sb_group_range *range, unsigned bits,
                                  sb_code_kind code_kind, unsigned fit) {
  return sb_grid_shrunk(range, 1.0f - (float)fit * 0.03125f, bits, code_kind);
}

/* The width one bit below or above `bits`; `bits` itself at the end of the range. */
SB_GRID_FN unsigned sb_move_down(unsigned bits) {
  return bits > SB_MIN_BITS ? bits - 1 : bits;
}
SB_GRID_FN unsigned sb_move_up(unsigned bits) {
  return bits < SB_MAX_BITS ? bits + 1 : bits;
}

/* Convert a grid to its stored form and back, without loss. */
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

/* The search for a fit. For step = 0 .. SB_FIT_STEPS - 1 the caller computes the error of the
 * candidate that sb_fit_candidate names, and hands it to sb_fit_seen; then `best` is the fit.
 * sb_fit_seen ignores candidates outside 0 .. SB_FITS - 1. */
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

/* The code of weight w, as a float that holds a whole number; 0 for NaN. */
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
