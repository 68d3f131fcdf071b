/* Trellis codes, for C and CUDA C++ (QTIP, arXiv 2406.11235; EXL3 of exllamav3 v1.4.1).
 *
 * A block is cut into tiles of 256 weights, and the weights of a tile stand in a row, s = 0 .. 255.
 * The code of a weight is K bits; the codes of a tile are a ring of 256 K bits (tail-biting). The
 * *state* of weight s is L bits of the ring: its own code, lowest, then those of its neighbours,
 *
 *   state(s) = (code(s) + code(s + 1) 2^K + code(s + 2) 4^K + ...) mod 2^L
 *
 * with s - 1, s - 2, ... in place of s + 1, s + 2, ... in EXL3. The weight's *level* is a whole
 * number computed from its state by a few operations, and its value, in the coordinates of
 * transform.h,
 *
 *   value = scale * number(level)
 *
 * with the fp16 scale of its block. number(level) is the level itself, at most 10 bits, so that the
 * product is exact in float; EXL3 makes an fp16 number of it. Neighbours share L - K bits of state,
 * so a code of K bits chooses among 2^L levels.
 *
 * Tiles as bytes. The ring is a bit string (bitstring.h) of 256 numbers of K bits: ring bit b is
 * bit b % 8 of byte b / 8, and state s is the L bits from bit s K on. EXL3 writes its codes one
 * after another, most significant bit first, into little-endian words of 32 bits, from their most
 * significant bit down.
 *
 * Blocks whose sides are no multiples of a tile's are padded up to it; padding has
 * code 0, and its values are dropped. */
#ifndef SB_KERNELS_SHARED_TRELLIS_H
#define SB_KERNELS_SHARED_TRELLIS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/device.h"
#include "kernels/shared/bitstring.h"
#include "kernels/shared/grid.h"

enum { SB_TRELLIS_TILE = 256, SB_TRELLIS_TILE_BYTES_A_BIT = SB_TRELLIS_TILE / 8 };

/* The trellis of a kind of codes at one width. */
typedef struct sb_trellis {
  unsigned state_bits;           /* L */
  unsigned width;                /* K, 1 .. 8 */
  unsigned tile_rows, tile_cols; /* 64 x 4, or 16 x 16 */
  uint32_t multiplier;           /* odd */
  bool exl3;                     /* order of weights, order of bits and levels are EXL3's */
} sb_trellis;

SB_HOST_DEVICE static inline bool sb_is_trellis(sb_code_kind kind) {
  return !sb_is_grid(kind);
}

/* The number that states are multiplied by. Those of our own kinds have the least errors of a
 * normal distribution at 1 to 4 bits, among all of 14 bits for L = 12 and samples for L = 14 and 16
 * (`bench_trellis search`); the best few of a hundred differ by less than 0.5%. Width 0: some
 * number, for who asks for tiles alone. */
SB_HOST_DEVICE static inline uint32_t sb_trellis_multiplier(sb_code_kind kind, unsigned width) {
  static const uint16_t best[3][8] = {
      {0x135f, 0x30e3, 0x184f, 0x10f7, 0x10f7, 0x10f7, 0x10f7, 0x10f7},
      {0x1d13, 0x313f, 0x37a9, 0x3c53, 0x3c53, 0x3c53, 0x3c53, 0x3c53},
      {0x8bb9, 0xbe29, 0x9ea5, 0x7779, 0x7779, 0x7779, 0x7779, 0x7779}};
  return kind == SB_TRELLIS_EXL3 ? 0x83DCD12Du
                                 : best[kind - SB_TRELLIS_12][width > 0 ? width - 1 : 0];
}

SB_HOST_DEVICE static inline sb_trellis sb_trellis_of(sb_code_kind kind, unsigned width) {
  sb_trellis t;
  t.state_bits = kind == SB_TRELLIS_12 ? 12u : kind == SB_TRELLIS_14 ? 14u : 16u;
  t.width = width;
  t.exl3 = kind == SB_TRELLIS_EXL3;
  t.multiplier = sb_trellis_multiplier(kind, width);
  t.tile_rows = t.exl3 ? 16u : 64u;
  t.tile_cols = t.exl3 ? 16u : 4u;
  return t;
}

/* Tiles of a block of `rows` x `cols`; tile (i, j), i counting tile_rows and j tile_cols, has
 * number j * sb_trellis_tiles_down + i (EXL3: row-major over the transposed matrix, the same). */
SB_HOST_DEVICE static inline size_t sb_trellis_tiles_down(const sb_trellis *t, size_t rows) {
  return (rows + t->tile_rows - 1) / t->tile_rows;
}
SB_HOST_DEVICE static inline size_t sb_trellis_tiles(const sb_trellis *t, size_t rows,
                                                     size_t cols) {
  return sb_trellis_tiles_down(t, rows) * ((cols + t->tile_cols - 1) / t->tile_cols);
}
/* Bytes of the codes of a tile: a multiple of 32. */
SB_HOST_DEVICE static inline size_t sb_trellis_tile_bytes(const sb_trellis *t) {
  return (size_t)SB_TRELLIS_TILE_BYTES_A_BIT * t->width;
}

/* Row and column, within its tile, of weight s. 64 x 4: pairs of columns, so that one vector of 32
 * numbers of 16 bits has 16 rows of a pair. EXL3: the layout of a tensor core's fragments, where a
 * "row" of EXL3 is a column here. */
SB_HOST_DEVICE static inline void sb_trellis_place(const sb_trellis *t, unsigned s, unsigned *row,
                                                   unsigned *col) {
  if (t->exl3) {
    const unsigned lane = s >> 3, j = s & 7u;
    *col = 2u * (lane & 3u) + (j & 1u) + 8u * (j >> 1 & 1u);
    *row = (lane >> 2) + 8u * (j >> 2);
  } else {
    *row = s >> 1 & 63u;
    *col = (s & 1u) + 2u * (s >> 7);
  }
}

/* ---- levels ----
 *
 * New bits stand at the top of a state. So the top bits of state * odd number (mod 2^n) take evenly
 * spaced values over the 2^K ways on from a group of states; the bits below choose the phase. These
 * top bits, as a number u in -1 .. 1, become about the quantile of a normal distribution at
 * (1 + u) / 2: every way on has its share of the distribution. A sum of bytes, as EXL3 has it,
 * spreads ways on at random; at L = 12 its errors are 6% larger.
 *
 * p is the 14 bits of a product with z, which is the state. Of a state of 12 bits z is its lowest 8
 * and its highest 6 bits; of a state of 16 bits, p is the highest 14 bits of 16. With i the highest
 * 6 bits of p, as a signed number, and f the others:
 *
 *   K <= 3   level = middle of interval i of 64                (sb_trellis_middle)
 *   K >= 4   level = (255 e(i) + f (e(i + 1) - e(i))) / 32, rounded down; e: sb_trellis_edge */

/* Levels of widths above it lie within intervals, others at their middles. */
enum { SB_TRELLIS_NARROW = 3 };

SB_HOST_DEVICE static inline bool sb_trellis_is_wide(const sb_trellis *t) {
  return t->width > SB_TRELLIS_NARROW;
}

/* The quantile of the middle of interval i, -32 .. 31, of 64: 127 is 2.61 standard deviations, so
 * that the outermost level stands further out than its quantile, 2.42. */
SB_HOST_DEVICE static inline int sb_trellis_middle(int i) {
  static const int8_t middle[32] = {1,  3,  5,  7,  9,  11, 13, 15, 17,  19, 21,
                                    23, 25, 27, 29, 32, 34, 36, 39, 42,  45, 48,
                                    51, 54, 58, 62, 66, 72, 78, 86, 100, 127};
  return i >= 0 ? middle[i] : -middle[-1 - i];
}

/* The quantile of the lower edge of interval i, -32 .. 32: 127 is 3 standard deviations. */
SB_HOST_DEVICE static inline int sb_trellis_edge(int i) {
  static const int8_t edge[33] = {0,  2,  3,  5,  7,  8,  10, 12, 13, 15, 17,
                                  19, 21, 23, 25, 27, 29, 31, 33, 35, 38, 40,
                                  43, 46, 49, 52, 56, 60, 65, 71, 79, 91, 127};
  return i >= 0 ? edge[i] : -edge[-i];
}

/* No level is further from 0. */
SB_HOST_DEVICE static inline int sb_trellis_top(const sb_trellis *t) {
  return t->exl3 ? 510 : sb_trellis_is_wide(t) ? 1013 : 127;
}

/* p of a state. */
SB_HOST_DEVICE static inline uint32_t sb_trellis_product(const sb_trellis *t, uint32_t state) {
  const uint32_t z =
      t->state_bits < 14 ? (state & 255u) | state >> (t->state_bits - 6) << 8 : state;
  return z * t->multiplier >> (t->state_bits > 14 ? 2 : 0) & 0x3fffu;
}

SB_HOST_DEVICE static inline int sb_trellis_level(const sb_trellis *t, uint32_t state) {
  if (t->exl3) { /* the sum of the bytes of a product, less its middle */
    const uint32_t x = state * t->multiplier;
    return (int)(x & 255u) + (int)(x >> 8 & 255u) + (int)(x >> 16 & 255u) + (int)(x >> 24) - 510;
  }
  const uint32_t p = sb_trellis_product(t, state);
  const int i = (int)(p >> 8 ^ 32u) - 32;
  if (!sb_trellis_is_wide(t)) return sb_trellis_middle(i);
  const int low = sb_trellis_edge(i), high = sb_trellis_edge(i + 1);
  return (255 * low + (int)(p & 255u) * (high - low)) >> 5;
}

/* The standard deviation of numbers, if all 2^14 products are equally frequent: a block of root
 * mean square r has a scale of about r / sb_trellis_unit. */
SB_HOST_DEVICE static inline float sb_trellis_unit(const sb_trellis *t) {
  return t->exl3 ? 1.0f : sb_trellis_is_wide(t) ? 340.125f : 49.19953f;
}

/* The number of a level: the level, as a float; EXL3: the fp16 number next to
 * (1774 (level + 510) - 905216) / 2^18, which is its fma16(1024 + sum of bytes, 0x1EEE, 0xC931),
 * since this sum is exact in float. */
SB_HOST_DEVICE static inline float sb_trellis_number(const sb_trellis *t, int level) {
  if (!t->exl3) return (float)level;
  return sb_grid_from_fp16(sb_grid_to_fp16((float)(1774 * (level + 510) - 905216) * 0x1p-18f));
}

/* ---- tiles ---- */

/* The state of weight s of a tile, from its bytes. */
SB_HOST_DEVICE static inline uint32_t sb_trellis_state(const sb_trellis *t, const uint8_t *tile,
                                                       unsigned s) {
  const unsigned bytes = SB_TRELLIS_TILE_BYTES_A_BIT * t->width, bits = 8 * bytes;
  const unsigned first = t->exl3 ? ((s + 1) * t->width + bits - 16) % bits : s * t->width;
  const unsigned at = first / 8, next = (at + 1) % bytes, last = (at + 2) % bytes;
  if (t->exl3) /* byte i of the ring is byte i ^ 3 of the tile */
    return ((uint32_t)tile[at ^ 3u] << 16 | (uint32_t)tile[next ^ 3u] << 8 | tile[last ^ 3u]) >>
               (8 - first % 8) &
           0xffffu;
  return ((uint32_t)tile[last] << 16 | (uint32_t)tile[next] << 8 | tile[at]) >> first % 8 &
         ((1u << t->state_bits) - 1u);
}

/* The state of weight s, from the codes of its tile. */
SB_HOST_DEVICE static inline uint32_t
sb_trellis_state_of_codes(const sb_trellis *t, const uint8_t code[SB_TRELLIS_TILE], unsigned s) {
  uint32_t state = 0;
  for (unsigned i = 0; i * t->width < t->state_bits; i++)
    state |= (uint32_t)code[(t->exl3 ? s - i : s + i) % SB_TRELLIS_TILE] << i * t->width;
  return state & ((1u << t->state_bits) - 1u);
}

/* The bytes of a tile, sb_trellis_tile_bytes, from its codes. */
SB_HOST_DEVICE static inline void sb_trellis_pack(const sb_trellis *t, uint8_t *tile,
                                                  const uint8_t code[SB_TRELLIS_TILE]) {
  if (!t->exl3) {
    sb_bitstring_pack(tile, code, SB_TRELLIS_TILE, t->width);
    return;
  }
  uint64_t pending = 0; /* its lowest `held` bits are not written yet */
  unsigned held = 0, at = 0;
  for (unsigned s = 0; s < SB_TRELLIS_TILE; s++) {
    pending = pending << t->width | code[s];
    for (held += t->width; held >= 8; held -= 8, at++)
      tile[at ^ 3u] = (uint8_t)(pending >> (held - 8));
  }
}

#endif
