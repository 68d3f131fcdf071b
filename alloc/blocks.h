/* The blocks that allocators choose widths for: sizes, bounds and costs. Distributed: every rank
 * holds its own blocks, no rank sees all.
 *
 * The cost of a block is its storage in bits, without its byte in the bit map. */
#ifndef SB_ALLOC_BLOCKS_H
#define SB_ALLOC_BLOCKS_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "kernels/shared/grid_types.h"
#include "mpi/world.h"

/* This rank's blocks. `id` ascends within a rank and is distinct over all ranks. */
typedef struct sb_blocks {
  size_t count;
  const uint64_t *id;
  const uint16_t *rows, *cols; /* of each block; NULL with `costs` */
  sb_code_kind code_kind;
  unsigned min_bits, max_bits; /* of any block */
  /* [count] storage bits at each width, in place of what shapes and kind say; NULL: by these. */
  const uint64_t (*costs)[SB_WIDTHS];
} sb_blocks;

/* Storage bits of block i at `bits`. Local, O(1). */
uint64_t sb_blocks_cost(const sb_blocks *blocks, size_t i, unsigned bits);
/* The least width of block i that saves storage: min_bits, or 2 for a narrow block. Local, O(1). */
unsigned sb_blocks_least(const sb_blocks *blocks, size_t i);
/* Storage bits of all ranks' blocks. Collective. */
sb_status sb_blocks_total(const sb_world *world, const sb_blocks *blocks, const uint8_t *bits,
                          uint64_t *total);
/* Storage bits with every block at its least width, and at max_bits. Collective. */
sb_status sb_blocks_range(const sb_world *world, const sb_blocks *blocks, uint64_t *least,
                          uint64_t *most);
/* SB_ERR_RANGE, with the possible range, for a budget below `least`, the cost of every WHAT
 * ("block") at min_bits. Equal on all ranks where the arguments are. Local. */
sb_status sb_blocks_check_budget(uint64_t budget, uint64_t least, uint64_t most, const char *what,
                                 unsigned min_bits);

#endif
