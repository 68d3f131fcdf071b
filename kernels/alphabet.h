/* The alphabet of a block: the values that its weights can have, and the bytes that hold their
 * codes. Each block has its own, so matrices may mix them.
 *
 * A block's byte in the bit map names width and alphabet: width 1 .. 8 in the low four bits, the
 * alphabet's number in the high four. Number 0 is the integer grid (kernels/shared/grid.h), so a
 * byte of 1 .. 8 is a grid of as many bits.
 *
 * This table is all that the rest of the program knows of an alphabet on the host:
 *
 *   allocation     bytes                  the storage of a block at a width (alloc/blocks.h)
 *   files          bytes, parts           the size of a block row, what zstd compresses together
 *   rounding       encode, pack           to nearest; from grids and codes that were chosen better
 *   reading        decode
 *   training       scale                  the numbers of a row that are trained (quant/scales.h)
 *
 * A device reads the same bytes: unpack_blocks, packed_gemm, round_columns and the operations on
 * moves (kernels/ops/) work on blocks of the integer grid.
 *
 * To add one: kernels/alphabet_NAME.c with its table, a line in kernels/alphabet.c, device
 * operations for it, and a test of what it encodes against a naive decoder. */
#ifndef SB_KERNELS_ALPHABET_H
#define SB_KERNELS_ALPHABET_H

#include <stddef.h>
#include <stdint.h>

#include "base/dtype.h"
#include "kernels/shared/grid_types.h"

typedef struct sb_block_shape {
  size_t rows, cols;
  unsigned bits; /* the width: 1 .. 8 */
  sb_symmetry symmetry;
} sb_block_shape;

/* A run of bytes of a block for compression that treats like with like (io/sections.h). `kind` is
 * 16 for fp16 numbers, the width for codes of a grid, 32 + the width for zero points. */
typedef struct sb_block_part {
  uint32_t bytes;
  uint8_t kind;
} sb_block_part;
enum { SB_BLOCK_PARTS = 3 }; /* of a block, at most */

/* Where a block lies in a row-major matrix of a weight type: element (r, c) of the block is number
 * first + r * ld + c. */
typedef struct sb_block_source {
  const void *data;
  sb_dtype dtype;
  size_t first, ld;
  const float *importance; /* [cols] of the block, or NULL: grids are not fitted */
} sb_block_source;

/* All functions are pure or write what they are told to, in one thread. */
typedef struct sb_alphabet {
  const char *name;
  /* Bytes of a block, without its byte in the bit map; of these, the bytes of codes alone. O(1). */
  size_t (*bytes)(const sb_block_shape *);
  size_t (*code_bytes)(const sb_block_shape *);
  /* Its parts in order, together all its bytes. Returns their number. */
  size_t (*parts)(const sb_block_shape *, sb_block_part parts[SB_BLOCK_PARTS]);

  /* Writes all bytes of a block: the nearest code of every weight. */
  void (*encode)(const sb_block_shape *, uint8_t *block, const sb_block_source *weights);
  /* The same from chosen grids [rows] and codes; the code of element (r, c) is codes[r * ld + c].
   */
  void (*pack)(const sb_block_shape *, uint8_t *block, const sb_grid *grids, const uint8_t *codes,
               size_t ld);
  /* Element (r, c) becomes number first + r * ld + c of out, of a weight type. */
  void (*decode)(const sb_block_shape *, const uint8_t *block, void *out, sb_dtype dtype,
                 size_t first, size_t ld);

  /* Offsets, within the block, of the fp16 numbers that scale row r: all values of the row are
   * proportional to them together. *base is SIZE_MAX where only the scale is stored. */
  void (*scale)(const sb_block_shape *, size_t r, size_t *scale, size_t *base);
} sb_alphabet;

/* The alphabet that a byte of the bit map names, and the width in it. NULL for a byte that names
 * none. O(1). */
const sb_alphabet *sb_alphabet_of(uint8_t byte);
static inline unsigned sb_alphabet_width(uint8_t byte) {
  return byte & 15u;
}

/* Number 0: the integer grid. */
extern const sb_alphabet sb_alphabet_grid;
/* Its first step alone: the nearest grids and codes of a block, as `pack` takes them. */
void sb_alphabet_grid_choose(const sb_block_shape *, sb_grid *grids, uint8_t *codes, size_t ld,
                             const sb_block_source *weights);

#endif
