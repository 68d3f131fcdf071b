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

/* Asymmetric: the levels of a group have a zero point (a base at 1 bit). Symmetric: they lie around
 * 0. */
typedef enum sb_symmetry { SB_ASYMMETRIC = 0, SB_SYMMETRIC = 1 } sb_symmetry;

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
