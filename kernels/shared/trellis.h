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
#include "kernels/shared/grid_types.h"

enum { SB_TRELLIS_TILE = 256, SB_TRELLIS_TILE_BYTES_A_BIT = SB_TRELLIS_TILE / 8 };

/* The trellis of a kind of codes at one width. */
typedef struct sb_trellis {
  unsigned state_bits;           /* L */
  unsigned width;                /* K, 1 .. 8 */
  unsigned tile_rows, tile_cols; /* 64 x 4, or 16 x 16 */
  bool exl3;                     /* order of weights, order of bits and levels are EXL3's */
} sb_trellis;

SB_HOST_DEVICE static inline bool sb_is_trellis(sb_code_kind kind) {
  return kind >= SB_TRELLIS_12;
}

SB_HOST_DEVICE static inline sb_trellis sb_trellis_of(sb_code_kind kind, unsigned width) {
  sb_trellis t;
  t.state_bits = kind == SB_TRELLIS_12 ? 12u : kind == SB_TRELLIS_14 ? 14u : 16u;
  t.width = width;
  t.exl3 = kind == SB_TRELLIS_EXL3;
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

/* ---- levels ---- */

/* Levels of up to this width are sums of two bytes, others of four. EXL3's are of four. */
enum { SB_TRELLIS_TWO_BYTES = 3 };

SB_HOST_DEVICE static inline bool sb_trellis_is_two_bytes(const sb_trellis *t) {
  return !t->exl3 && t->width <= SB_TRELLIS_TWO_BYTES;
}

/* The odd number that states are multiplied by. */
SB_HOST_DEVICE static inline uint32_t sb_trellis_multiplier(const sb_trellis *t) {
  if (t->exl3) return 0x83DCD12Du; /* "mul1" */
  return sb_trellis_is_two_bytes(t) ? 0x9E3Du : 0x83DCD12Du;
}

/* The largest level; the least is its negative. */
SB_HOST_DEVICE static inline int sb_trellis_top(const sb_trellis *t) {
  return sb_trellis_is_two_bytes(t) ? 255 : 510;
}

/* The level of a state: the sum of the bytes of state * multiplier, less its middle. The product
 * is taken modulo 2^16 where it has two bytes, modulo 2^32 where it has four. */
SB_HOST_DEVICE static inline int sb_trellis_level(const sb_trellis *t, uint32_t state) {
  const uint32_t x = state * sb_trellis_multiplier(t);
  if (sb_trellis_is_two_bytes(t)) return (int)(x & 255u) + (int)(x >> 8 & 255u) - 255;
  return (int)(x & 255u) + (int)(x >> 8 & 255u) + (int)(x >> 16 & 255u) + (int)(x >> 24) - 510;
}

/* The standard deviation of numbers, if the bytes are independent: a block of root mean square r
 * has a scale of about r / sb_trellis_unit. */
SB_HOST_DEVICE static inline float sb_trellis_unit(const sb_trellis *t) {
  if (t->exl3) return 1.0f;
  return sb_trellis_is_two_bytes(t) ? 104.510765f : 147.800541f;
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
