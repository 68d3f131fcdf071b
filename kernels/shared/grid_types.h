/* Types of grids, the levels that weights are rounded to. shared/grid.h says which levels, and how
 * weights are rounded to them.
 *
 * A group is one row of one block. It has one grid. */
#ifndef SB_KERNELS_SHARED_GRID_TYPES_H
#define SB_KERNELS_SHARED_GRID_TYPES_H

#include <stdint.h>

enum {
  SB_MIN_BITS = 1,
  SB_MAX_BITS = 8,
  SB_WIDTHS = SB_MAX_BITS + 1, /* 0 (unquantized) to 8 bits: tables over widths have this length */
  SB_MOVES = 3 /* widths a move may start from or end at: one bit less, equal, more */
};

/* Whether the levels of a group have a zero point (asymmetric) or lie around 0 (symmetric). */
typedef enum sb_symmetry { SB_ASYMMETRIC = 0, SB_SYMMETRIC = 1 } sb_symmetry;

/* The grid of one group, ready for rounding: value(code) = (code - center) * scale + base. */
typedef struct sb_grid {
  float scale, inverse; /* inverse = 1 / scale; 0 where scale is 0 */
  float center, base;
  float top; /* the largest code, 2^bits - 1 */
} sb_grid;

/* The same as three fp16 numbers, which hold it without loss. The width is known elsewhere. */
typedef struct sb_stored_grid {
  uint16_t scale, center, base;
} sb_stored_grid;

#endif
