/* The grids weights are rounded to: one definition for every path (rounding, move scores, packing, unpacking), usable
 * from C and CUDA C++.
 *
 * A *group* is one row of one block. With b bits it has the levels
 *
 *   value(code) = (code - center) * scale + base,   code = 0 .. 2^b - 1
 *
 * asymmetric, b >= 2   scale = fp16((hi - lo) / (2^b - 1)) with lo = min(w, 0), hi = max(w, 0); center = the integer zero
 *                      point, rint(-lo / scale) within 0 .. 2^b - 1; base = 0. Stored: scale (16 bits), zero point (b).
 * asymmetric, b = 1    base = fp16(mean w), scale = fp16(2 mean |w - base|), center = 1/2: sign x mean magnitude around
 *                      the mean. Stored: scale and base (32 bits).
 * symmetric            scale = fp16(2 max|w| / (2^b - 1)), for b = 1 fp16(2 mean |w|); center = (2^b - 1) / 2: the levels
 *                      lie midway, so that b = 1 is sign x magnitude. Stored: scale (16 bits).
 *
 * The code of a weight is the nearest level, ties to the even code. A group whose scale underflows to 0 becomes `base`.
 * Weights are finite, and small enough for an fp16 scale: a larger scale is cut to the largest fp16 number. */
#ifndef SB_KERNELS_GRID_H
#define SB_KERNELS_GRID_H

#include <stdint.h>

#include "base/dtype.h"
#include "kernels/backend.h"

#ifdef __cplusplus
#define SB_RESTRICT __restrict__
#else
#define SB_RESTRICT restrict
#endif

enum { SB_MIN_BITS = 1, SB_MAX_BITS = 8, SB_GROUP_MAX = 1024 /* columns of a block, at most */ };

typedef struct sb_group {
  float scale, inverse, center, base, top; /* top = 2^b - 1 */
} sb_group;

/* What the parameters of a group are chosen from. */
typedef struct sb_group_range {
  float low, high;      /* min(w, 0), max(w, 0) */
  float mean, spread;   /* fp16(mean w), mean |w - that|: for asymmetric b = 1 */
  float mean_magnitude; /* mean |w|: for symmetric b = 1 */
} sb_group_range;

static inline float sb_grid_fp16(float value) {
  float rounded = sb_f16_to_f32(sb_f32_to_f16(value));
  return rounded > 65504.0f ? 65504.0f : rounded < -65504.0f ? -65504.0f : rounded;
}

static inline sb_group sb_group_make(float scale, float center, float base, unsigned bits) {
  sb_group group = {scale, scale > 0.0f ? 1.0f / scale : 0.0f, center, base, (float)((1u << bits) - 1u)};
  return group;
}

static inline sb_group sb_group_choose(const sb_group_range *range, unsigned bits, sb_symmetry symmetry) {
  float top = (float)((1u << bits) - 1u);
  if (symmetry == SB_SYMMETRIC) {
    float largest = range->high > -range->low ? range->high : -range->low;
    float scale = bits == 1 ? 2.0f * range->mean_magnitude : 2.0f * largest / top;
    return sb_group_make(sb_grid_fp16(scale), 0.5f * top, 0.0f, bits);
  }
  if (bits == 1) return sb_group_make(sb_grid_fp16(2.0f * range->spread), 0.5f, range->mean, bits);
  float scale = sb_grid_fp16((range->high - range->low) / top);
  float zero = scale > 0.0f ? -range->low / scale : 0.0f;
  zero = zero < top ? zero : top;
  zero = (zero + 12582912.0f) - 12582912.0f; /* rint for 0 <= x < 2^22 */
  return sb_group_make(scale, zero, 0.0f, bits);
}

/* The code, as a float holding an integer. Adding and subtracting 1.5 * 2^23 rounds to nearest, ties to even, and keeps
 * the loop free of library calls. */
static inline float sb_group_code(const sb_group *group, float w) {
  float x = __builtin_fmaf(w - group->base, group->inverse, group->center);
  x = x > 0.0f ? x : 0.0f;
  x = x < group->top ? x : group->top;
  return (x + 12582912.0f) - 12582912.0f;
}

static inline float sb_group_value(const sb_group *group, float code) {
  return __builtin_fmaf(code - group->center, group->scale, group->base);
}

#endif
