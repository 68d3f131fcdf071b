/* Scales and elements of low-precision formats, and the random bits of stochastic rounding: one
 * definition for C and CUDA C++, so that all devices give the same bits.
 *
 * A value x in a block with the scale (encode, decode) becomes
 *
 *   round(x * encode) * decode * tensor
 *
 * where round gives the nearest element, ties to even, or one of the two neighbours at random, and
 * saturates. A rule without a scale of the tensor has tensor = 1. Products and quotients are in
 * f32, each rounded by itself: nothing that could be fused into a sum is added.
 *
 * Sources: OCP Microscaling Formats 1.0; TransformerEngine (recipe_common.cuh for f32 scales,
 * cast/nvfp4 for NVFP4); torchao (ScaleCalculationMode for MX); "Four Over Six", arXiv 2512.02010,
 * for two scales, whose tensor scale leaves room: 256 in the place of 448. */
#ifndef SB_KERNELS_SHARED_LOWPREC_CODE_H
#define SB_KERNELS_SHARED_LOWPREC_CODE_H

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "base/device.h"
#include "base/random.h"
#include "kernels/lowprec.h"

#define SB_LOWPREC_FN SB_HOST_DEVICE static inline __attribute__((always_inline))

enum { SB_HADAMARD = 16 }; /* rows that are rotated together */

SB_LOWPREC_FN float sb_lowprec_float(uint32_t bits) {
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}
SB_LOWPREC_FN uint32_t sb_lowprec_bits(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}
/* The bits of |x|. Their order as whole numbers is that of magnitudes, infinity and NaN on top. */
SB_LOWPREC_FN uint32_t sb_magnitude(float x) {
  return sb_lowprec_bits(x) & 0x7fffffffu;
}
enum { SB_MAGNITUDE_INF = 0x7f800000 };

/* ---- random bits ---- */

/* The state of one row; a bijection of `key` for each row (the finaliser of splitmix64). */
typedef struct sb_lowprec_row {
  uint32_t low, high;
} sb_lowprec_row;

/* A key that depends on `key` and `word`: fold in seed, step, layer, matrix, GEMM, operand and
 * sequence, one after the other. */
SB_LOWPREC_FN uint64_t sb_lowprec_key(uint64_t key, uint64_t word) {
  return sb_mix64(key + UINT64_C(0x9e3779b97f4a7c15) * (word + 1));
}
SB_LOWPREC_FN sb_lowprec_row sb_lowprec_row_of(uint64_t key, uint64_t row) {
  const uint64_t z = sb_lowprec_key(key, row);
  const sb_lowprec_row state = {(uint32_t)z, (uint32_t)(z >> 32)};
  return state;
}
/* 32 random bits of column c. The multipliers are Wellons' lowbias32; `high` enters between its
 * rounds, so that rows are no shifted copies of each other. */
SB_LOWPREC_FN uint32_t sb_lowprec_random(sb_lowprec_row row, uint32_t c) {
  uint32_t x = row.low + c * 0x9e3779b9u;
  x = (x ^ (x >> 16)) * 0x7feb352du + row.high;
  x = (x ^ (x >> 15)) * 0x846ca68bu;
  return x ^ (x >> 16);
}

/* ---- elements ---- */

/* Bits of the mantissa, the least normal number, and the largest number (as float bits). */
SB_LOWPREC_FN uint32_t sb_element_mantissa(sb_element e) {
  return e == SB_ELEMENT_E4M3 ? 3 : e == SB_ELEMENT_E5M2 ? 2 : 1;
}
SB_LOWPREC_FN uint32_t sb_element_normal(sb_element e) {
  return (uint32_t)(127 - (e == SB_ELEMENT_E4M3 ? 6 : e == SB_ELEMENT_E5M2 ? 14 : 0)) << 23;
}
SB_LOWPREC_FN float sb_element_top(sb_element e) {
  return e == SB_ELEMENT_E4M3 ? 448.0f : e == SB_ELEMENT_E5M2 ? 57344.0f : 6.0f;
}

/* v rounded to the nearest element, ties to the even code; saturates. No meaning for NaN. */
SB_LOWPREC_FN float sb_element_nearest(sb_element e, float v) {
  const uint32_t sign = sb_lowprec_bits(v) & 0x80000000u, least = sb_element_normal(e);
  const uint32_t top = sb_lowprec_bits(sb_element_top(e)), whole = sb_magnitude(v);
  const uint32_t magnitude = whole < top ? whole : top;
  const uint32_t binade = magnitude & 0x7f800000u;
  /* The last place of `magic` is one step of the elements in v's binade: adding it rounds. */
  const float magic =
      sb_lowprec_float((binade > least ? binade : least) + ((23 - sb_element_mantissa(e)) << 23));
  const float rounded = (sb_lowprec_float(magnitude) + magic) - magic;
  return sb_lowprec_float(sb_lowprec_bits(rounded) | sign);
}

/* v rounded to one of its two neighbours; up in magnitude with the probability of its distance from
 * the lower one, to 2^-20. The upper 23 - mantissa bits of `random` decide. Saturates. */
SB_LOWPREC_FN float sb_element_stochastic(sb_element e, float v, uint32_t random) {
  const uint32_t sign = sb_lowprec_bits(v) & 0x80000000u, least = sb_element_normal(e);
  const uint32_t top = sb_lowprec_bits(sb_element_top(e)), whole = sb_magnitude(v);
  const uint32_t magnitude = whole < top ? whole : top;
  const uint32_t cut = 23 - sb_element_mantissa(e);
  /* Below the least normal number steps are as wide as above it: rounded there, and moved back. */
  const float shift = magnitude < least ? sb_lowprec_float(least) : 0.0f;
  const uint32_t shifted = sb_lowprec_bits(sb_lowprec_float(magnitude) + shift);
  const uint32_t rounded = ((shifted + (random >> (32 - cut))) >> cut) << cut;
  return sb_lowprec_float(sb_lowprec_bits(sb_lowprec_float(rounded) - shift) | sign);
}

/* ---- scales; amax as sb_magnitude bits ---- */

typedef struct sb_lowprec_scale {
  float encode, decode;
} sb_lowprec_scale;

SB_LOWPREC_FN float sb_lowprec_at_most(float x, float limit) {
  return x < limit ? x : limit;
}

/* encode = goal / amax, 1 for amax = 0, the largest float for an infinite quotient. */
SB_LOWPREC_FN float sb_lowprec_encode(float goal, uint32_t amax) {
  return amax == 0 ? 1.0f : sb_lowprec_at_most(goal / sb_lowprec_float(amax), FLT_MAX);
}

/* The exponent e of an E8M0 scale 2^e, -127 .. 127. */
SB_LOWPREC_FN int sb_lowprec_exponent(sb_element element, sb_scale_rule rule, uint32_t amax) {
  const uint32_t mantissa = amax & 0x7fffffu, top = sb_lowprec_bits(sb_element_top(element));
  const int largest = (int)(top >> 23) - 127;
  const uint32_t from = rule == SB_SCALE_CEIL ? 1
                        : rule == SB_SCALE_EVEN
                            ? 0x800000u - (1u << (22 - sb_element_mantissa(element)))
                        : rule == SB_SCALE_UP ? (top & 0x7fffffu) + 1
                                              : 0x800000u;
  const int e = (int)(amax >> 23) - 127 - largest + (mantissa >= from ? 1 : 0);
  return e < -127 ? -127 : e;
}
SB_LOWPREC_FN float sb_lowprec_power(int e) {
  return sb_lowprec_float(e < -126 ? 0x400000u : (uint32_t)(e + 127) << 23);
}

/* Whether a rule has a scale of the whole matrix, so that its amax comes first. */
SB_LOWPREC_FN bool sb_lowprec_has_tensor_scale(const sb_lowprec_rule *rule) {
  return rule->element != SB_ELEMENT_NONE && (rule->scale == SB_SCALE_E4M3 || rule->tile_rows == 0);
}
/* The scale of the whole tensor: encode and decode; 1 and 1 if the rule has none. decode is NaN if
 * amax is no finite number. */
SB_LOWPREC_FN sb_lowprec_scale sb_lowprec_tensor_scale(const sb_lowprec_rule *rule, uint32_t amax) {
  sb_lowprec_scale s = {1.0f, 1.0f};
  if (!sb_lowprec_has_tensor_scale(rule)) return s;
  if (rule->scale == SB_SCALE_E4M3)
    s.encode = sb_lowprec_encode(rule->two_scales ? 6.0f * 256.0f : 6.0f * 448.0f, amax);
  else
    s.encode = sb_lowprec_encode(sb_element_top(rule->element), amax);
  s.decode = amax >= SB_MAGNITUDE_INF ? sb_lowprec_float(0x7fc00000u) : 1.0f / s.encode;
  return s;
}

/* The scale of a block under a scale of the tensor; the decoded value is still to be multiplied by
 * tensor.decode. `stretch` is 1, or 1.5 to map amax to 4 in the place of 6 (SB_SCALE_E4M3). */
SB_LOWPREC_FN sb_lowprec_scale sb_lowprec_block_scale(const sb_lowprec_rule *rule, uint32_t amax,
                                                      sb_lowprec_scale tensor, float stretch) {
  sb_lowprec_scale s = {tensor.encode, 1.0f};
  if (rule->tile_rows == 0) return s;
  if (rule->scale == SB_SCALE_E4M3) {
    s.decode = sb_element_nearest(SB_ELEMENT_E4M3,
                                  sb_lowprec_float(amax) / 6.0f * tensor.encode * stretch);
    s.encode = sb_lowprec_at_most(1.0f / (s.decode * tensor.decode), FLT_MAX);
  } else if (rule->scale == SB_SCALE_F32 || rule->scale == SB_SCALE_POWER_DOWN) {
    s.encode = sb_lowprec_encode(sb_element_top(rule->element), amax);
    if (rule->scale == SB_SCALE_POWER_DOWN)
      s.encode = sb_lowprec_float(sb_lowprec_bits(s.encode) & 0x7f800000u);
    s.decode = 1.0f / s.encode;
  } else {
    const int e = sb_lowprec_exponent(rule->element, rule->scale, amax);
    s.encode = sb_lowprec_power(-e);
    s.decode = sb_lowprec_power(e);
  }
  if (amax >= SB_MAGNITUDE_INF) s.decode = sb_lowprec_float(0x7fc00000u);
  return s;
}

/* ---- rotation: x <- H diag(s) x / 4 for runs of 16 rows ---- */

/* H is Sylvester's Hadamard matrix, H[i][j] = (-1)^(ones of i & j), taken as four stages of sums
 * and differences at distance 1, 2, 4, 8, in this order. s are TransformerEngine's signs. H diag(s)
 * / 4 is orthogonal. The quarter is exact and taken first, with the sign. */
SB_LOWPREC_FN float sb_hadamard_sign(uint32_t i) {
  return (0xd7e8u >> i & 1u) ? -0.25f : 0.25f;
}

#endif
