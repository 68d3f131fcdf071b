/* Scales in packed blocks, read bit by bit from the description in kernels/blockrow.h. */
#ifndef SB_TESTS_KERNELS_SCALE_BY_HAND_H
#define SB_TESTS_KERNELS_SCALE_BY_HAND_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/dtype.h"
#include "kernels/shared/grid_types.h"

static inline bool is_6bit(sb_code_kind kind) {
  return kind == SB_GRID_ASYMMETRIC_6BIT || kind == SB_GRID_SYMMETRIC_6BIT;
}

/* Number k of a bit string. */
static inline unsigned bits_at(const uint8_t *string, size_t k, unsigned bits) {
  unsigned out = 0;
  for (unsigned i = 0; i < bits; i++)
    out |= (unsigned)(string[(k * bits + i) / 8] >> (k * bits + i) % 8 & 1) << i;
  return out;
}

static inline double half_at(const uint8_t *p, size_t k) {
  return (double)sb_f16_to_f32((uint16_t)(p[2 * k] | p[2 * k + 1] << 8));
}

/* What code c of 6 bits stands for. */
static inline double scale6_by_hand(uint8_t anchor, unsigned c) {
  const int m = anchor % 4 + 1, e = anchor / 4 - 24, steps = 1 << m;
  return c == 0 ? 0 : ldexp(1 + (double)(c % (unsigned)steps) / steps, e + (int)c / steps);
}

/* Bytes of the scales of a block; of a block row's head: bit map, anchors. */
static inline size_t scale_bytes(size_t rows, sb_code_kind kind) {
  return is_6bit(kind) ? (rows * 6 + 7) / 8 : 2 * rows;
}
static inline size_t head_bytes(size_t columns, sb_code_kind kind) {
  return (is_6bit(kind) ? 2 : 1) * ((columns + 15) / 16 * 16);
}

/* The scale of row r of the block at `block`, which is block j of the block row at `head`. */
static inline double scale_by_hand(const uint8_t *head, size_t columns, size_t j,
                                   const uint8_t *block, size_t r, sb_code_kind kind) {
  if (!is_6bit(kind)) return half_at(block, r);
  return scale6_by_hand(head[(columns + 15) / 16 * 16 + j], bits_at(block, r, 6));
}

#endif
