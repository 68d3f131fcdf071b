/* Trellis codes, for C and CUDA C++ (QTIP, arXiv 2406.11235; EXL3 of exllamav3 v1.4.1).
 *
 * A block is cut into tiles of 256 weights, and the weights of a tile stand in a row, s = 0 .. 255.
 * The code of a weight is K new bits. The *state* of weight s is the last L bits at s: its own K
 * and those of the weights before it, back around the tile's end (tail-biting), so the 256 K bits
 * of a tile are a ring. The weight's *level* is a number computed from its state by a few
 * operations on integers; its value is `scale of the block * level`, in the coordinates of
 * transform.h. Neighbours share L - K bits of state, so a code of K bits chooses among 2^L levels.
 *
 * Blocks whose sides are no multiples of a tile's are padded up to it; padding has codes, and its
 * values are dropped. */
#ifndef SB_KERNELS_SHARED_TRELLIS_H
#define SB_KERNELS_SHARED_TRELLIS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/device.h"
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

#endif
