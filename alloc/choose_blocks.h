/* Allocation in one shot from a table: every block's predicted loss at every width, such as a
 * second-order form gives without gradients at the widths themselves. Distributed: every rank holds
 * its own blocks and their rows of the table.
 *
 * Where alloc/greedy.h moves a block by one bit from where it stands, here all widths are open at
 * once: a multiple-choice knapsack with up to eight choices a block (alloc/knapsack.h), within 0.1%
 * of the optimum (tests/alloc). */
#ifndef SB_ALLOC_CHOOSE_BLOCKS_H
#define SB_ALLOC_CHOOSE_BLOCKS_H

#include "alloc/greedy.h"
#include "alloc/knapsack.h"
#include "sensitivity/losses.h"

typedef struct sb_choose_result {
  uint64_t storage; /* bits, over all ranks */
  double loss;      /* predicted, over all ranks, exactly summed */
  double gap; /* proven: no widths within the budget have a sum of losses that is lower by more than
                 this */
} sb_choose_result;

/* bits[i] = the width of block i, for the least sum of loss[i][bits[i]] with a storage of at most
 * `budget` bits. Losses may be of any sign and need not fall with the width; a width that promises
 * no more than a cheaper one is never chosen. The answer depends on the blocks only, not on how
 * they are spread over ranks. O(blocks x widths / ranks) work and memory (24 bytes a block and
 * width).
 *
 * SB_ERR_RANGE when the budget is below what the least widths need, with what is possible;
 * SB_ERR_NUMERIC, naming the block, for a loss that is NaN or infinite. Collective; SB_OK on all
 * ranks or on none. */
sb_status sb_choose_blocks(const sb_world *world, const sb_blocks *blocks, const sb_losses *loss,
                           uint64_t budget, uint8_t *bits, sb_choose_result *result);

/* What sb_choose_blocks refuses in this rank's rows: SB_ERR_NUMERIC as above, SB_ERR_INTERNAL
 * for widths beyond the table. Local. */
sb_status sb_choose_check(const sb_blocks *blocks, const sb_losses *loss);
/* The choices of one item whose costs and losses at the widths `least` to `most` are given: the
 * widths that promise more than every cheaper one, written to width[] beside them. Returns their
 * number; the first is `least`. Local. */
unsigned sb_choose_options(const uint64_t cost[SB_WIDTHS], const double loss[SB_WIDTHS],
                           unsigned least, unsigned most, sb_choice *out, uint8_t *width);

#endif
