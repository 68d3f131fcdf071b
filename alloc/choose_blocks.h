/* One width per block, chosen in one shot from a table of losses: the predicted loss of every block
 * at every width (sensitivity/losses.h). alloc/greedy.h moves a block by one bit from its present
 * width; here all widths are open at once.
 *
 * A multiple-choice knapsack with up to eight choices per block (alloc/knapsack.h). Distributed:
 * every rank holds its own blocks and their rows of the table. The result is within 0.1% of the
 * optimum (tests/alloc). */
#ifndef SB_ALLOC_CHOOSE_BLOCKS_H
#define SB_ALLOC_CHOOSE_BLOCKS_H

#include "alloc/blocks.h"
#include "alloc/knapsack.h"
#include "sensitivity/losses.h"

typedef struct sb_choose_result {
  uint64_t storage; /* bits, over all ranks */
  double loss;      /* predicted, over all ranks, exactly summed */
  double gap;       /* proven: no widths within the budget have a loss lower by more than this */
  double price;     /* loss that the next bit of storage would save; 0: no width more saves any */
} sb_choose_result;

/* bits[i] = the width of block i, for the least sum of loss[i][bits[i]] with a storage of at most
 * `budget` bits. Losses may have any sign and need not fall with the width; a width that costs more
 * for no less loss is never chosen. The result does not depend on how blocks are spread over ranks.
 * O(blocks x widths / ranks) work and memory (24 bytes per block and width).
 *
 * SB_ERR_RANGE, with the possible range, when the least widths exceed the budget;
 * SB_ERR_NUMERIC, naming the block, for a loss that is NaN or infinite. Collective; SB_OK on all
 * ranks or on none. */
sb_status sb_choose_blocks(const sb_world *world, const sb_blocks *blocks, const sb_losses *loss,
                           uint64_t budget, uint8_t *bits, sb_choose_result *result);
/* Several kinds of blocks under one budget, each kind with bounds and codes of its own. Ids ascend
 * from part to part within a rank, and are distinct over all. `bits` of each part are written. As
 * sb_choose_blocks, which is the case of one part. */
typedef struct sb_choose_part {
  const sb_blocks *blocks;
  const sb_losses *loss;
  uint8_t *bits;
} sb_choose_part;
enum { SB_CHOOSE_PARTS = 2 }; /* most of them */
sb_status sb_choose_parts(const sb_world *world, const sb_choose_part *parts, size_t count,
                          uint64_t budget, sb_choose_result *result);
/* bits[i] = the width of block i at which storage of `price` loss per bit is worth its loss: the
 * least of loss + price * cost, of equals the widest. So blocks beside those of a budget take the
 * rate of its last bit: no widths that cost as much together have less loss, and *result has a gap
 * of 0. SB_ERR_NUMERIC and SB_ERR_INTERNAL as above. Collective. */
sb_status sb_choose_at_price(const sb_world *world, const sb_blocks *blocks, const sb_losses *loss,
                             double price, uint8_t *bits, sb_choose_result *result);
/* Most bytes that either of the first two takes for `count` blocks in all. Pure. */
size_t sb_choose_blocks_bytes(size_t count);

/* Checks this rank's rows of a table, for sb_choose_blocks and its like: SB_ERR_NUMERIC as above,
 * SB_ERR_INTERNAL for widths beyond the table. Local. */
sb_status sb_choose_check(const sb_blocks *blocks, const sb_losses *loss);
/* The choices of an item from its costs and losses at the widths `least` to `most`: the widths with
 * less loss than every cheaper one. width[k] is the width of choice out[k]; out[0] is `least`.
 * Returns the number of choices. Pure. */
unsigned sb_choose_options(const uint64_t cost[SB_WIDTHS], const double loss[SB_WIDTHS],
                           unsigned least, unsigned most, sb_choice *out, uint8_t *width);

#endif
