/* One step of the allocation: which blocks go up one bit and which go down one, for the least
 * predicted loss under a storage budget. Distributed: every rank holds its own blocks, no rank sees
 * all.
 *
 * The problem is a multiple-choice knapsack (alloc/knapsack.h) with three choices a block (b - 1,
 * b, b + 1) and predicted losses (cut_loss, 0, -raise_gain). Seen from "everything is cut", blocks
 * are kept and raised by value a bit of storage, best first, where a raise that is worth more a bit
 * than its keep comes together with it; the room that is left is used by exchanges near the
 * threshold. The predicted loss, counted from every block at its best, is within 0.1% of the
 * optimum (tests/alloc, docs/results.md).
 *
 * Costs are storage bits of a block without its byte in the bit map. Predictions below 0 count as
 * 0; a raise that promises nothing is not made. The answer depends on the blocks only, not on how
 * they are spread over ranks. O(blocks / ranks) work and memory, and a few all-reduces of some 10^4
 * integers.
 *
 * A 1-bit asymmetric group keeps two fp16 numbers, so in a narrow block (less than 15 columns) 1
 * bit costs more than 2. Such a block is never cut to 1 bit, and one that stands there is always
 * raised by an unbounded step. */
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
/* The least width of block i that saves storage: min_bits, or 2 for a narrow block. Local, O(1). */
unsigned sb_blocks_least(const sb_blocks *blocks, size_t i);
/* Storage bits of all ranks' blocks. Collective. */
sb_status sb_blocks_total(const sb_world *world, const sb_blocks *blocks, const uint8_t *bits,
                          uint64_t *total);
/* The least and most that is possible: every block at its least width, at max_bits. Collective. */
sb_status sb_blocks_range(const sb_world *world, const sb_blocks *blocks, uint64_t *least,
                          uint64_t *most);

typedef struct sb_step_result {
  uint64_t raised, cut; /* blocks, over all ranks */
  uint64_t storage;     /* bits after the step, over all ranks */
  double gain, loss;    /* predicted: of the raises, of the cuts; over all ranks, exactly summed */
} sb_step_result;

/* bits[i] becomes the new width of block i. `budget` is in storage bits. `most_raised` bounds the
 * storage that raises may add (a trust region; UINT64_MAX for none): then only the best raises are
 * taken, and only as many cuts, cheapest first, as pay for them; cuts that the budget forces are
 * always taken. When even all blocks cut by one bit exceed the budget, all are cut (but where a cut
 * frees nothing). SB_ERR_NUMERIC, naming the block, for a prediction that is NaN or infinite;
 * SB_ERR_INTERNAL for bits outside [min_bits, max_bits]; bits[] is then unspecified. Collective;
 * SB_OK on all ranks or on none. */
sb_status sb_greedy_step(const sb_world *world, const sb_blocks *blocks, const double *raise_gain,
                         const double *cut_loss, uint64_t budget, uint64_t most_raised,
                         uint8_t *bits, sb_step_result *result);

#endif
