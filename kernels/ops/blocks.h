/* The weights of a matrix, cut into blocks: an input of the operations of ops/grids.h and
 * ops/scores.h. */
#ifndef SB_KERNELS_OPS_BLOCKS_H
#define SB_KERNELS_OPS_BLOCKS_H

#include <stdint.h>

#include "base/dtype.h"
#include "kernels/shared/grid_types.h"
#include "kernels/shared/tiling.h"

typedef struct sb_block_weights {
  const void *w; /* device [rows, cols] */
  sb_dtype dtype;
  const sb_tiling *tiling; /* host */
  const uint8_t *bits;     /* host [blocks]: width of each block, 0 (unquantized) .. 8; NULL for
                              operations that cover all widths */
  sb_code_kind code_kind;
} sb_block_weights;

#endif
