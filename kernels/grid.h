/* The grids: how the weights of one group are rounded to b bits, and what the codes mean.
 *
 * A group is one row of one block: up to block_cols consecutive weights of a matrix row that share a step. What is
 * stored for a group is an sb_group (two 16-bit numbers at most) and one code of b bits a weight; everything else
 * follows from these. This header is the one definition that every path has to agree with to the bit: quantization in
 * place, predicted moves, packing, unpacking, on any device. It is C11 and C++ (CUDA) alike.
 *
 *   kind              condition          step and offset                               value of code c
 *   SB_GRID_AFFINE    asymmetric, b >= 2 lo = min(w, 0), hi = max(w, 0)                (c - zero) * scale
 *                                        scale = (hi - lo) / (2^b - 1)
 *                                        zero = rint(-lo / scale), b bits
 *   SB_GRID_SIGN      asymmetric, b = 1  mean m = mean w, scale a = mean |w - m|       m - a, m + a
 *   SB_GRID_MIDRISE   symmetric          scale = 2 max|w| / (2^b - 1); b = 1: 2 mean|w|  (c - (2^b - 1) / 2) * scale
 *
 * Codes are those of the nearest value: rint(w / scale) + zero; w >= m; floor(w / scale) + 2^(b-1); always clamped to
 * 0 .. 2^b - 1. Division by the scale is a multiplication by its rounded reciprocal (0 where the scale is 0).
 *
 * Scales and means are fp16. Too large ones saturate at 65504. A step below the smallest normal fp16 number (2^-14),
 * where fp16 gets coarse, is rounded up instead of to nearest, so that the outermost weights are never cut off and a
 * step vanishes only when all weights are 0; then all values are 0. The magnitudes of 1-bit grids are rounded to
 * nearest everywhere.
 *
 * Exactness: the value of a code is a whole or half number of at most 9 bits times an fp16 number of 11 bits, which
 * float holds exactly. So it makes no difference whether a compiler fuses that product with a following addition.
 *
 * Sums over a group (the means) are taken in SB_GRID_LANES lanes: lane i adds the weights i, i + 32, i + 64, ... in
 * order from 0, then lanes i and i + 16 are added, then i and i + 8, 4, 2, 1: the shape of a warp, and of two AVX-512
 * registers. */
#ifndef SB_KERNELS_GRID_H
#define SB_KERNELS_GRID_H

#ifdef __cplusplus
extern "C" {
#endif
#include "base/dtype.h"
#include "kernels/backend.h"
#ifdef __cplusplus
}
#endif
#include <math.h>

#ifdef __CUDACC__
#include <cuda_fp16.h>
#define SB_GRID_FN static inline __host__ __device__
#else
#define SB_GRID_FN static inline
#if defined(__F16C__)
#include <immintrin.h>
#endif
#endif

enum { SB_MIN_BITS = 1, SB_MAX_BITS = 8, SB_GRID_LANES = 32 };

typedef enum sb_grid_kind { SB_GRID_AFFINE, SB_GRID_SIGN, SB_GRID_MIDRISE } sb_grid_kind;

/* What is stored for a group. */
typedef struct sb_group {
  uint16_t scale;  /* fp16, not negative */
  uint16_t offset; /* SB_GRID_AFFINE: zero point, 0 .. 2^b - 1; SB_GRID_SIGN: fp16 mean; SB_GRID_MIDRISE: 0 */
} sb_group;

/* A group's grid, ready to compute with. */
typedef struct sb_grid {
  float scale;
  float inverse; /* 1 / scale; 0 where the scale is 0 */
  float zero;    /* value = (code - zero) * scale; SB_GRID_SIGN: the mean */
  float top;     /* the largest code, 2^b - 1 */
} sb_grid;

SB_GRID_FN sb_grid_kind sb_grid_kind_of(unsigned bits, sb_symmetry symmetry) {
  return symmetry == SB_SYMMETRIC ? SB_GRID_MIDRISE : bits == 1 ? SB_GRID_SIGN : SB_GRID_AFFINE;
}

/* Bits stored for a group beside its codes. */
SB_GRID_FN unsigned sb_group_bits(unsigned bits, sb_symmetry symmetry) {
  return symmetry == SB_SYMMETRIC ? 16u : bits == 1 ? 32u : 16u + bits;
}

SB_GRID_FN float sb_grid_top(unsigned bits) {
  return (float)((1u << bits) - 1u);
}

/* fp16 to float and back (to nearest, ties to even), the same bits on every path. */
SB_GRID_FN float sb_grid_half_value(uint16_t half) {
#if defined(__CUDA_ARCH__)
  return __half2float(__ushort_as_half(half));
#elif defined(__F16C__) && !defined(__CUDACC__)
  return _cvtsh_ss(half);
#else
  return sb_f16_to_f32(half);
#endif
}
SB_GRID_FN uint16_t sb_grid_half_nearest(float value) {
#if defined(__CUDA_ARCH__)
  return __half_as_ushort(__float2half_rn(value));
#elif defined(__F16C__) && !defined(__CUDACC__)
  return (uint16_t)_cvtss_sh(value, _MM_FROUND_TO_NEAREST_INT);
#else
  return sb_f32_to_f16(value);
#endif
}

/* fp16 of a mean or magnitude: saturating. */
SB_GRID_FN uint16_t sb_grid_half(float value) {
  const float limit = 65504.0f;
  return sb_grid_half_nearest(value > limit ? limit : value < -limit ? -limit : value);
}
/* fp16 of a step >= 0: saturating, and upwards where fp16 is subnormal. */
SB_GRID_FN uint16_t sb_grid_step(float value) {
  const uint16_t half = sb_grid_half(value);
  return (uint16_t)(half + (half < 0x0400u && sb_grid_half_value(half) < value));
}

SB_GRID_FN float sb_grid_reciprocal(float scale) {
  return scale > 0.0f ? 1.0f / scale : 0.0f;
}

/* min(max(x, 0), top); 0 for NaN. */
SB_GRID_FN float sb_grid_clamp(float x, float top) {
  x = x > 0.0f ? x : 0.0f;
  return x < top ? x : top;
}

/* ---- the group of given statistics ---- */

/* SB_GRID_AFFINE: lo = min(w, 0), hi = max(w, 0). */
SB_GRID_FN sb_group sb_group_affine(float lo, float hi, unsigned bits) {
  const float top = sb_grid_top(bits);
  sb_group group;
  group.scale = sb_grid_step((hi - lo) / top);
  group.offset = (uint16_t)sb_grid_clamp(rintf(-lo * sb_grid_reciprocal(sb_grid_half_value(group.scale))), top);
  return group;
}
/* SB_GRID_MIDRISE with b >= 2: largest = max|w|. */
SB_GRID_FN sb_group sb_group_midrise(float largest, unsigned bits) {
  sb_group group;
  group.scale = sb_grid_step(2.0f * largest / sb_grid_top(bits));
  group.offset = 0;
  return group;
}
/* SB_GRID_MIDRISE with b = 1: magnitude = mean|w|. */
SB_GRID_FN sb_group sb_group_midrise_one(float magnitude) {
  sb_group group;
  group.scale = sb_grid_half(2.0f * magnitude);
  group.offset = 0;
  return group;
}
/* SB_GRID_SIGN: mean = sb_grid_half(mean w), magnitude = mean |w - mean| for that fp16 mean. */
SB_GRID_FN sb_group sb_group_sign(uint16_t mean, float magnitude) {
  sb_group group;
  group.scale = sb_grid_half(magnitude);
  group.offset = mean;
  return group;
}

/* ---- codes and values ---- */

SB_GRID_FN sb_grid sb_grid_open(sb_group group, unsigned bits, sb_symmetry symmetry) {
  const sb_grid_kind kind = sb_grid_kind_of(bits, symmetry);
  sb_grid grid;
  grid.scale = sb_grid_half_value(group.scale);
  grid.inverse = sb_grid_reciprocal(grid.scale);
  grid.top = sb_grid_top(bits);
  grid.zero = kind == SB_GRID_AFFINE ? (float)group.offset
              : kind == SB_GRID_SIGN ? sb_grid_half_value(group.offset)
                                     : 0.5f * grid.top;
  return grid;
}

SB_GRID_FN unsigned sb_grid_code(const sb_grid *grid, sb_grid_kind kind, float w) {
  if (kind == SB_GRID_SIGN) return w >= grid->zero;
  if (kind == SB_GRID_AFFINE) return (unsigned)sb_grid_clamp(rintf(w * grid->inverse) + grid->zero, grid->top);
  return (unsigned)sb_grid_clamp(floorf(w * grid->inverse) + 0.5f * (grid->top + 1.0f), grid->top);
}

SB_GRID_FN float sb_grid_value(const sb_grid *grid, sb_grid_kind kind, unsigned code) {
  if (kind == SB_GRID_SIGN) return code ? grid->zero + grid->scale : grid->zero - grid->scale;
  return ((float)code - grid->zero) * grid->scale;
}

/* Sum of w, or of |w - centre| where `absolute`, in the order given above. */
SB_GRID_FN float sb_grid_sum(const float *w, size_t n, float centre, bool absolute) {
  float lane[SB_GRID_LANES] = {0};
  for (size_t i = 0; i < n; i++) lane[i % SB_GRID_LANES] += absolute ? fabsf(w[i] - centre) : w[i];
  for (int width = SB_GRID_LANES / 2; width > 0; width /= 2)
    for (int i = 0; i < width; i++) lane[i] += lane[i + width];
  return lane[0];
}

/* The group of n > 0 weights: the definition, one weight at a time. */
SB_GRID_FN sb_group sb_group_choose(const float *w, size_t n, unsigned bits, sb_symmetry symmetry) {
  float lo = 0.0f, hi = 0.0f;
  if (bits == 1 && symmetry == SB_SYMMETRIC)
    return sb_group_midrise_one(sb_grid_sum(w, n, 0.0f, true) / (float)n);
  if (bits == 1) {
    const uint16_t mean = sb_grid_half(sb_grid_sum(w, n, 0.0f, false) / (float)n);
    return sb_group_sign(mean, sb_grid_sum(w, n, sb_grid_half_value(mean), true) / (float)n);
  }
  for (size_t i = 0; i < n; i++) {
    lo = w[i] < lo ? w[i] : lo;
    hi = w[i] > hi ? w[i] : hi;
  }
  if (symmetry == SB_SYMMETRIC) return sb_group_midrise(-lo > hi ? -lo : hi, bits);
  return sb_group_affine(lo, hi, bits);
}

#endif
