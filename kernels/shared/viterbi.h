/* The whole numbers that Viterbi's algorithm runs on (kernels/cpu/cpu_viterbi.h has the algorithm),
 * for C and CUDA C++: one definition, so that every implementation chooses the same codes. */
#ifndef SB_KERNELS_SHARED_VITERBI_H
#define SB_KERNELS_SHARED_VITERBI_H

#include <math.h>

#include "kernels/shared/trellis.h"

enum {
  SB_VITERBI_WORST = 65535,              /* the largest cost of a walk */
  SB_VITERBI_NORMALISE = 16,             /* before every so many steps, the least cost is made 0 */
  SB_VITERBI_START = SB_TRELLIS_TILE / 2 /* step at which the first pass starts */
};

/* f: a level becomes level * f, within 16 bits. */
SB_HOST_DEVICE static inline int sb_viterbi_fineness(const sb_trellis *t) {
  if (t->exl3) return t->width == 1 ? 16 : t->width == 2 ? 37 : t->width == 3 ? 52 : 44;
  return t->width == 1 ? 49 : t->width == 2 ? 110 : t->width == 3 ? 180 : 20;
}

/* h: differences are multiplied by 2^h. As large as leaves some level of every group unsaturated.
 */
SB_HOST_DEVICE static inline int sb_viterbi_shift(const sb_trellis *t) {
  return t->width <= 3 ? 0 : t->width <= 5 ? (int)t->width - 3 : (int)t->width - 4;
}

SB_HOST_DEVICE static inline int16_t sb_viterbi_level(const sb_trellis *t, uint32_t state) {
  return (int16_t)(sb_trellis_level(t, state) * sb_viterbi_fineness(t));
}

/* Targets x become rint(clamp(fma(x, by, offset))): units of levels / f. EXL3's numbers are
 * (1774 level - 476) / 2^18, but for their rounding to fp16. */
SB_HOST_DEVICE static inline float sb_viterbi_by(const sb_trellis *t, float scale) {
  return (t->exl3 ? 0x1p18f / 1774.0f : 1.0f) * (float)sb_viterbi_fineness(t) / scale;
}
SB_HOST_DEVICE static inline float sb_viterbi_offset(const sb_trellis *t) {
  return t->exl3 ? 476.0f / 1774.0f * (float)sb_viterbi_fineness(t) : 0.0f;
}
/* Where targets are clamped: with h > 0 a little beyond the largest level, so that levels near it
 * do not saturate. */
SB_HOST_DEVICE static inline float sb_viterbi_most(const sb_trellis *t) {
  const int h = sb_viterbi_shift(t);
  return h == 0 ? 32767.0f : (float)(sb_trellis_top(t) * sb_viterbi_fineness(t) + (8192 >> h));
}
SB_HOST_DEVICE static inline int16_t sb_viterbi_target(float x, float by, float offset,
                                                       float most) {
  const float y = fmaf(x, by, offset);
  return (int16_t)rintf(y >= -most ? y > most ? most : y : -most); /* NaN becomes -most */
}

/* The cost of a level for a target, at most 32768 + 1023. */
SB_HOST_DEVICE static inline unsigned sb_viterbi_cost(int16_t target, int16_t level, int shift) {
  int d = target - level;
  d = d > 32767 ? 32767 : d < -32768 ? -32768 : d;
  const unsigned far = shift > 0 ? (unsigned)(d < 0 ? -d : d) >> (10 - shift) : 0u;
  d *= 1 << shift;
  d = d > 32767 ? 32767 : d < -32768 ? -32768 : d;
  return ((unsigned)(d * d + 0x4000) >> 15) + far;
}

/* a (+) b and a (-) b, saturated. */
SB_HOST_DEVICE static inline unsigned sb_viterbi_add(unsigned a, unsigned b) {
  return a + b > SB_VITERBI_WORST ? (unsigned)SB_VITERBI_WORST : a + b;
}
SB_HOST_DEVICE static inline unsigned sb_viterbi_less(unsigned a, unsigned b) {
  return a > b ? a - b : 0;
}

#endif
