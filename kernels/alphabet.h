/* The alphabet of a block: the values that its weights can have, and the bytes that hold their
 * codes. Each block has its own, so matrices may mix them.
 *
 * A block's byte in the bit map names width and alphabet: width 1 .. 8 in the low four bits, the
 * alphabet's number in the high four. Number 0 is the integer grid (kernels/shared/grid.h), so a
 * byte of 1 .. 8 is a grid of as many bits; numbers 1 .. 4 are the trellises (shared/trellis.h) in
 * the order of sb_code_kind. In memory a model's bits are widths alone; its kind says the rest.
 *
 * This table is all that the rest of the program knows of an alphabet on the host:
 *
 *   allocation     bytes                  the storage of a block at a width (alloc/blocks.h)
 *   files          bytes, parts           the size of a block row, what zstd compresses together
 *   rounding       encode, pack           to nearest; from grids and codes that were chosen better
 *   reading        decode
 *   training       scale                  the numbers of a row that are trained (quant/scales.h)
 *
 * A device reads the same bytes: unpack_blocks and packed_gemm work on blocks of all alphabets,
 * round_columns and the operations on moves (kernels/ops/) on those of the integer grid.
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
  sb_code_kind code_kind;
} sb_block_shape;

/* A run of bytes of one kind within a block; io/sections.h compresses runs of a kind together.
 * kind: 16 for fp16 numbers, the width for codes of a grid, 32 + the width for zero points,
 * SB_PART_SCALES6 for scales of 6 bits, SB_PART_TRELLIS for codes of a trellis. */
enum { SB_PART_SCALES6 = 22, SB_PART_TRELLIS = 64 };
typedef struct sb_block_part {
  uint32_t bytes;
  uint8_t kind;
} sb_block_part;
enum { SB_BLOCK_PARTS = 3 }; /* most parts of a block */

/* Where a block lies in a row-major matrix of a weight type: element (r, c) of the block is number
 * first + r * ld + c. */
typedef struct sb_block_source {
  const void *data;
  sb_dtype dtype;
  size_t first, ld;
  const float *importance; /* [cols] of the block, or NULL: grids are not fitted */
} sb_block_source;

/* Every function runs in one thread and changes nothing but its output. The anchor of a block with
 * scales of 6 bits (shared/block_scale.h) stands in the head of the block row: writing returns it,
 * 0 where scales are fp16, and reading is given it. */
typedef struct sb_alphabet {
  const char *name;
  /* bytes: size of a block without its byte in the bit map. code_bytes: size of its codes. O(1). */
  size_t (*bytes)(const sb_block_shape *);
  size_t (*code_bytes)(const sb_block_shape *);
  /* Fills `parts` in the order of the bytes; they cover the block. Returns their number. */
  size_t (*parts)(const sb_block_shape *, sb_block_part parts[SB_BLOCK_PARTS]);

  /* Writes all bytes of a block from its weights, each rounded to the nearest code. */
  uint8_t (*encode)(const sb_block_shape *, uint8_t *block, const sb_block_source *weights);
  /* Writes all bytes of a block from given grids [rows] and codes. The code of element (r, c) is
   * codes[r * ld + c]. */
  uint8_t (*pack)(const sb_block_shape *, uint8_t *block, const sb_grid *grids,
                  const uint8_t *codes, size_t ld);
  /* The reverse of `pack`: reads the grids [rows] and codes of a block. */
  void (*unpack)(const sb_block_shape *, uint8_t anchor, const uint8_t *block, sb_grid *grids,
                 uint8_t *codes, size_t ld);
  /* Writes element (r, c) to number first + r * ld + c of `out`, which has a weight type. */
  void (*decode)(const sb_block_shape *, uint8_t anchor, const uint8_t *block, void *out,
                 sb_dtype dtype, size_t first, size_t ld);

  /* Offsets within the block of the numbers that scale row r. Multiplying both by a factor
   * multiplies all values of the row. *scale: of an fp16 number, or of the block's bit string of
   * scales of 6 bits. *base: of an fp16 number, SIZE_MAX where only a scale is stored. */
  void (*scale)(const sb_block_shape *, size_t r, size_t *scale, size_t *base);
} sb_alphabet;

/* The number of the alphabet of a kind of codes, and the byte of the bit map for a width in it. */
uint8_t sb_alphabet_number(sb_code_kind code_kind);
static inline uint8_t sb_alphabet_byte(unsigned width, sb_code_kind code_kind) {
  return (uint8_t)(sb_alphabet_number(code_kind) << 4 | width);
}
/* The alphabet that a byte of the bit map names, NULL if it names none; and the byte's width.
 * O(1). */
const sb_alphabet *sb_alphabet_of(uint8_t byte);
static inline unsigned sb_alphabet_width(uint8_t byte) {
  return byte & 15u;
}

/* Numbers 1 .. 4: trellises (alphabet_trellis.h). `bytes` counts a block's codes and scale;
 * code_bytes, parts and `pack` are of its codes alone. The other members are NULL, since they need
 * factors and transforms: see blockrow.h. */
extern const sb_alphabet sb_alphabet_trellis;

/* Number 0: the integer grid. */
extern const sb_alphabet sb_alphabet_grid;
/* The first half of its `encode`: chooses the grids and nearest codes that `pack` takes. */
void sb_alphabet_grid_choose(const sb_block_shape *, sb_grid *grids, uint8_t *codes, size_t ld,
                             const sb_block_source *weights);

#endif
