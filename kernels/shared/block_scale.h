/* Scales of 6 bits, for C and CUDA C++.
 *
 * A block whose scales have 6 bits has an *anchor*, a byte. Its scales are small floats without a
 * sign: with m mantissa bits a code c is
 *
 *   0                                                        if c = 0
 *   (1 + (c mod 2^m) / 2^m) * 2^(e + floor(c / 2^m))         otherwise
 *
 *   anchor = 4 (e + 24) + m - 1,   m = 1 .. 4,   e = -24 .. 15
 *
 * Grids are chosen with scales of SB_SCALE6_PRECISION significant bits (sb_grid_step), which know
 * nothing of the block. The anchor of a block has the most mantissa bits that reach over its
 * scales: m = 4 over 4 powers of two, so the scales stay as they were chosen; then 3, 2, 1 over 8,
 * 16, 32. There a scale is rounded to nearest when the block is packed, and its codes stay. Powers
 * of two to spare lie around the scales, first above them: so training may move a scale.
 *
 * Least value. c = 0 is the scale 0, so the value 2^e is missing, and a scale below the least value
 * becomes that value. */
#ifndef SB_KERNELS_SHARED_BLOCK_SCALE_H
#define SB_KERNELS_SHARED_BLOCK_SCALE_H

#include <stdint.h>
#include <string.h>

#include "base/device.h"

enum {
  SB_SCALE6_BITS = 6,
  SB_SCALE6_MOST = 63,     /* the largest code */
  SB_SCALE6_PRECISION = 5, /* significant bits of the scales of grids that are stored so */
  SB_ANCHOR_LEAST = -24    /* the exponent e of anchors 0 .. 3 */
};

SB_HOST_DEVICE static inline unsigned sb_anchor_mantissa(uint8_t anchor) {
  return 1u + (anchor & 3u);
}
/* The exponent e as a float has it. */
SB_HOST_DEVICE static inline uint32_t sb_anchor_exponent(uint8_t anchor) {
  return (uint32_t)(anchor >> 2) + (uint32_t)(127 + SB_ANCHOR_LEAST);
}

SB_HOST_DEVICE static inline uint32_t sb_scale_bits_of_float(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}

/* What a code stands for; finite for any anchor and code. */
SB_HOST_DEVICE static inline float sb_scale6_value(uint8_t anchor, unsigned code) {
  const uint32_t bits =
      (sb_anchor_exponent(anchor) << 23) + (code << (23 - sb_anchor_mantissa(anchor)));
  float value;
  memcpy(&value, &bits, sizeof value);
  return code == 0 ? 0.0f : value;
}

/* The code of a scale >= 0: the nearest one of the scale's own power of two, the larger one of two;
 * the end of the range beyond it; never 0 for a scale above 0. So a scale that was rounded has the
 * same code again, and a block the same anchor. */
SB_HOST_DEVICE static inline unsigned sb_scale6_code(uint8_t anchor, float scale) {
  const unsigned m = sb_anchor_mantissa(anchor), all = (1u << m) - 1u;
  const uint32_t bits = sb_scale_bits_of_float(scale), zero = sb_anchor_exponent(anchor) << m;
  uint32_t rounded = bits >> (23 - m);
  if ((rounded & all) != all) rounded += bits >> (22 - m) & 1u;
  if (!(scale > 0.0f)) return 0;
  if (rounded <= zero) return 1;
  return rounded - zero < SB_SCALE6_MOST ? rounded - zero : (uint32_t)SB_SCALE6_MOST;
}

/* The anchor of a block whose scales above 0 are from `least` to `most`, fp16 numbers; 0 where the
 * block has none. */
SB_HOST_DEVICE static inline uint8_t sb_anchor_of(float least, float most) {
  if (!(most > 0.0f)) return 0;
  const int top = (int)(sb_scale_bits_of_float(most) >> 23) - 127,
            octaves = top - ((int)(sb_scale_bits_of_float(least) >> 23) - 127) + 1;
  int m = 4;
  while (m > 1 && (1 << (SB_SCALE6_BITS - m)) < octaves) m--;
  const int reach = 1 << (SB_SCALE6_BITS - m), spare = reach > octaves ? reach - octaves : 0;
  int exponent = top + (spare + 1) / 2 - (reach - 1);
  if (exponent < SB_ANCHOR_LEAST) exponent = SB_ANCHOR_LEAST;
  return (uint8_t)(4 * (exponent - SB_ANCHOR_LEAST) + m - 1);
}

#endif
