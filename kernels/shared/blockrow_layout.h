/* Offsets of the parts of a packed block (kernels/blockrow.h), for C and CUDA C++. */
#ifndef SB_KERNELS_SHARED_BLOCKROW_LAYOUT_H
#define SB_KERNELS_SHARED_BLOCKROW_LAYOUT_H

#include "kernels/shared/bitstring.h"
#include "kernels/shared/block_scale.h"
#include "kernels/shared/grid.h"
#include "kernels/shared/trellis.h"

typedef struct sb_block_layout {
  size_t rows, cols;
  unsigned bits;
  sb_code_kind code_kind;
  unsigned scale_bits; /* 16: fp16; 6: relative to the block's anchor (block_scale.h) */
  uint8_t anchor;      /* that anchor, which whoever reads or writes scales fills in */
  size_t zeros, codes; /* offsets within the block: zero points or bases, codes */
  size_t code_bytes;   /* bytes per row of codes */
} sb_block_layout;

/* Bytes of the bit map of a block row of `blocks` blocks. */
SB_HOST_DEVICE static inline size_t sb_bitmap_bytes(size_t blocks) {
  return (blocks + 15) / 16 * 16;
}

/* What a block row begins with: the bit map; in trellis codes the scales of its blocks and the
 * factors of its rows, fp16 each; on grids with scales of 6 bits the anchors of its blocks, a byte
 * each. Every part is padded with zeros to a multiple of 16 bytes. */
typedef struct sb_blockrow_head {
  size_t scales, row_factors; /* offsets within the block row; equal to `codes` on grids */
  size_t anchors;             /* equal to `codes` where there are none */
  size_t codes;               /* of the first block */
} sb_blockrow_head;

SB_HOST_DEVICE static inline sb_blockrow_head sb_blockrow_head_of(size_t blocks, size_t rows,
                                                                  sb_code_kind code_kind) {
  sb_blockrow_head head;
  head.scales = head.row_factors = head.anchors = head.codes = sb_bitmap_bytes(blocks);
  if (sb_grid_scale_bits(code_kind) != 16)
    head.scales = head.row_factors = head.codes = head.anchors + sb_bitmap_bytes(blocks);
  if (!sb_is_trellis(code_kind)) return head;
  head.row_factors = head.scales + (2 * blocks + 15) / 16 * 16;
  head.anchors = head.codes = head.row_factors + (2 * rows + 15) / 16 * 16;
  return head;
}
/* The anchor of block j of a block row at `row`; 0 where blocks have none. */
SB_HOST_DEVICE static inline uint8_t sb_blockrow_anchor(const uint8_t *row, size_t blocks, size_t j,
                                                        sb_code_kind code_kind) {
  return sb_grid_scale_bits(code_kind) == 16 ? 0 : row[sb_bitmap_bytes(blocks) + j];
}

/* The layout of a block of rows x cols at `bits`. */
SB_HOST_DEVICE static inline sb_block_layout
sb_block_layout_of(size_t rows, size_t cols, unsigned bits, sb_code_kind code_kind) {
  sb_block_layout b;
  b.rows = rows;
  b.cols = cols;
  b.bits = bits;
  b.code_kind = code_kind;
  b.scale_bits = sb_grid_scale_bits(code_kind);
  b.anchor = 0;
  b.zeros = b.scale_bits == 16 ? 2 * rows : sb_bitstring_bytes(rows, b.scale_bits);
  b.codes = b.zeros;
  if (sb_has_base(code_kind, bits)) b.codes += 2 * rows;
  if (sb_has_zero_point(code_kind, bits)) b.codes += sb_bitstring_bytes(rows, bits);
  b.code_bytes = sb_bitstring_bytes(cols, bits);
  return b;
}
SB_HOST_DEVICE static inline size_t sb_block_layout_bytes(const sb_block_layout *b) {
  return b->codes + b->rows * b->code_bytes;
}

/* The scale of row r. */
SB_HOST_DEVICE static inline float sb_block_scale(const uint8_t *block, const sb_block_layout *b,
                                                  size_t r) {
  if (b->scale_bits != 16)
    return sb_scale6_value(b->anchor, sb_bitstring_get(block, r, SB_SCALE6_BITS));
  return sb_grid_from_fp16((uint16_t)(block[2 * r] | block[2 * r + 1] << 8));
}

/* The grid of row r. `zero` is its zero point, ignored in a block without zero points. */
SB_HOST_DEVICE static inline sb_grid sb_block_grid(const uint8_t *block, const sb_block_layout *b,
                                                   size_t r, unsigned zero) {
  const bool has_base = sb_has_base(b->code_kind, b->bits);
  const uint8_t *base = block + b->zeros + 2 * r;
  const float center = sb_has_zero_point(b->code_kind, b->bits)
                           ? (float)zero
                           : sb_grid_middle(b->code_kind, b->bits);
  return sb_grid_make(sb_block_scale(block, b, r), center,
                      has_base ? sb_grid_from_fp16((uint16_t)(base[0] | base[1] << 8)) : 0.0f,
                      b->bits);
}
/* The zero point of row r; 0 in a block without zero points. */
SB_HOST_DEVICE static inline unsigned sb_block_zero(const uint8_t *block, const sb_block_layout *b,
                                                    size_t r) {
  if (!sb_has_zero_point(b->code_kind, b->bits)) return 0;
  return sb_bitstring_get(block + b->zeros, r, b->bits);
}

#endif
