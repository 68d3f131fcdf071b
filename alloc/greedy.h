/* One step of the allocation: which blocks get one bit more and which one bit less, for the least
 * predicted loss under a storage budget. Distributed: every rank holds its own blocks, no rank sees
 * all.
 *
 * A multiple-choice knapsack (alloc/knapsack.h) with three choices per block: a cut, b and b + 1
 * bits, with the predicted losses cut_loss, 0 and -raise_gain. It begins with every block cut. Then
 * two steps are possible for a block: keep (back to b) and raise (to b + 1). Steps are taken by
 * gain per bit of storage, best first; if a block's raise beats its keep, both are offered as one
 * step. Exchanges near the threshold use the room that is left. The predicted loss, counted from
 * every block at its best, is within 0.1% of the optimum (tests/alloc, docs/results.md).
 *
 * Costs are storage bits of a block without its byte in the bit map. Predictions below 0 count as
 * 0; a raise with no gain is not made. The result does not depend on how blocks are spread over
 * ranks. O(blocks / ranks) work and memory; a few all-reduces of some 10^4 integers.
 *
 * A cut is to b - 1 bits, or to the next width that takes less storage: in blocks of less than 8
 * columns, whose rows of codes are padded to whole bytes, b - 1 may take as much as b.
 *
 * Narrow blocks. A 1-bit asymmetric group stores two fp16 numbers, so in a block of less than 15
 * columns 1 bit costs more than 2. Such a block is never cut to 1 bit, and one that has 1 bit is
 * raised by every step without a bound on raises. */
#ifndef SB_ALLOC_GREEDY_H
#define SB_ALLOC_GREEDY_H

#include <stdint.h>

#include "alloc/blocks.h"
#include "base/status.h"
#include "mpi/world.h"

typedef struct sb_step_result {
  uint64_t raised, cut; /* blocks, over all ranks */
  uint64_t storage;     /* bits after the step, over all ranks */
  double gain, loss;    /* predicted: of the raises, of the cuts; over all ranks, exactly summed */
} sb_step_result;

/* bits[i] = the new width of block i; on entry the present one. `budget` is in storage bits.
 *
 * `most_raised` bounds the storage that raises add, as a trust region; UINT64_MAX: no bound. With a
 * bound only the best raises are taken, and the cheapest cuts that pay for them; cuts that the
 * budget forces are always taken. Where all blocks cut exceed the budget, all are cut, except where
 * no cut frees anything.
 *
 * SB_ERR_NUMERIC, naming the block, for a prediction that is not finite; SB_ERR_INTERNAL for
 * bits outside [min_bits, max_bits]; bits[] is then unspecified. Collective; SB_OK on all
 * ranks or on none. */
sb_status sb_greedy_step(const sb_world *world, const sb_blocks *blocks, const double *raise_gain,
                         const double *cut_loss, uint64_t budget, uint64_t most_raised,
                         uint8_t *bits, sb_step_result *result);
/* Most bytes that sb_greedy_step takes for `count` blocks. Pure. */
size_t sb_greedy_step_bytes(size_t count);

#endif
