/* One step of the allocation: which blocks go up one bit and which go down one, for the least predicted loss under a
 * storage budget. Distributed: every rank holds its own blocks, no rank sees all.
 *
 * The problem is a multiple-choice knapsack with three choices a block (b - 1, b, b + 1) and predicted losses
 * (cut_loss, 0, -raise_gain). Seen from "everything is cut", each block offers two items: *keep* (weight cost(b) -
 * cost(b-1), value cut_loss) and then *raise* (weight cost(b+1) - cost(b), value raise_gain). Items are taken by value a
 * bit of storage, best first, until the budget is full (mpi/select.h: exact, ties by block number); where a block's raise
 * is worth more a bit than its keep, the two become one item of the average (the upper hull, so that raises never come
 * without their keep). That is the optimum of the linear relaxation; what is left over is less than one block.
 *
 * Costs are storage bits of a block without its byte in the bit map. All values are >= 0. The answer depends on the
 * blocks only, not on how they are spread over ranks. O(blocks / ranks) work and memory, and a few all-reduces of some
 * 10^4 integers. */
#ifndef SB_ALLOC_GREEDY_H
#define SB_ALLOC_GREEDY_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "kernels/backend.h"
#include "mpi/world.h"

/* This rank's blocks. `id` ascends within a rank and is distinct over all ranks. */
typedef struct sb_blocks {
  size_t count;
  const uint64_t *id;
  const uint16_t *rows, *cols; /* of each block */
  sb_symmetry symmetry;
  unsigned min_bits, max_bits; /* of any block */
} sb_blocks;

/* Storage bits of block i at `bits`. Local, O(1). */
uint64_t sb_blocks_cost(const sb_blocks *blocks, size_t i, unsigned bits);
/* Storage bits of all ranks' blocks. Collective. */
sb_status sb_blocks_total(const sb_world *world, const sb_blocks *blocks, const uint8_t *bits, uint64_t *total);
/* The least and most that is possible: every block at min_bits, at max_bits. Collective. */
sb_status sb_blocks_range(const sb_world *world, const sb_blocks *blocks, uint64_t *least, uint64_t *most);

typedef struct sb_step_result {
  uint64_t raised, cut;  /* blocks, over all ranks */
  uint64_t storage;      /* bits after the step, over all ranks */
} sb_step_result;

/* bits[i] becomes the new width of block i. `budget` is in storage bits. `most_raised` bounds the storage that raises may
 * add (a trust region; UINT64_MAX for none): then only the best raises are taken, and only as many cuts, cheapest first,
 * as pay for them; cuts that the budget forces are always taken. When even all blocks cut by one bit exceed the budget,
 * all are cut. Collective; SB_OK on all ranks or on none. */
sb_status sb_greedy_step(const sb_world *world, const sb_blocks *blocks, const double *raise_gain, const double *cut_loss,
                         uint64_t budget, uint64_t most_raised, uint8_t *bits, sb_step_result *result);

#endif
