/* Types of grids. A group is one row of one block. Its grid is the set of levels that its weights
 * are rounded to; shared/grid.h defines levels and rounding. */
#ifndef SB_KERNELS_SHARED_GRID_TYPES_H
#define SB_KERNELS_SHARED_GRID_TYPES_H

#include <stdint.h>

enum {
  SB_MIN_BITS = 1,
  SB_MAX_BITS = 8,
  SB_WIDTHS = SB_MAX_BITS + 1, /* length of tables over widths: 0 (unquantized) to 8 bits */
  SB_MOVES = 3 /* length of tables over a width and its neighbours: b - 1, b, b + 1 */
};

/* What the codes of a model stand for; all its quantized matrices are of one kind.
 *
 * Grids: each group has levels of its own. Asymmetric ones have a zero point (a base at 1 bit),
 * symmetric ones lie around 0, signed ones have a level at 0 and one more at one side of it than at
 * the other; by width a group has symmetric levels up to 2 bits and signed ones from 3 on. Those of
 * ..._BF16 are the same with scales (and bases) of 8 significant bits, which fp16 and bf16 both
 * hold; those of ..._6BIT are stored with scales of 6 bits (block_scale.h), which have no sign, as
 * signed levels need. kernels/shared/code_traits.h answers what a kind has.
 * Trellises (shared/trellis.h): a code is the step of a walk over 2^12, 2^14 or 2^16 states; the
 * last kind has tiles, states and transforms of EXL3. */
typedef enum sb_code_kind {
  SB_GRID_ASYMMETRIC = 0,
  SB_GRID_SYMMETRIC = 1,
  SB_GRID_SIGNED,
  SB_GRID_BY_WIDTH,
  SB_GRID_ASYMMETRIC_BF16,
  SB_GRID_SYMMETRIC_BF16,
  SB_GRID_SIGNED_BF16,
  SB_GRID_BY_WIDTH_BF16,
  SB_GRID_ASYMMETRIC_6BIT,
  SB_GRID_SYMMETRIC_6BIT,
  SB_TRELLIS_12,
  SB_TRELLIS_14,
  SB_TRELLIS_16,
  SB_TRELLIS_EXL3,
  SB_CODE_KINDS
} sb_code_kind;

/* The grid of one group, ready for rounding: value(code) = (code - center) * scale + base. */
typedef struct sb_grid {
  float scale, inverse; /* inverse = 1 / scale; 0 where scale is 0 */
  float center, base;
  float top; /* the largest code, 2^bits - 1 */
} sb_grid;

/* The same grid as three fp16 numbers, without loss. The caller knows the width. */
typedef struct sb_stored_grid {
  uint16_t scale, center, base;
} sb_stored_grid;

#endif
