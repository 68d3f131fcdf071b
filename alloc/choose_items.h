/* One width per item: all blocks of a matrix have the same, or all of several matrices that a
 * server computes as one product (model/ties.h). Chosen from the same table of losses as in
 * alloc/choose_blocks.h. */
#ifndef SB_ALLOC_CHOOSE_ITEMS_H
#define SB_ALLOC_CHOOSE_ITEMS_H

#include "alloc/choose_blocks.h"

/* Blocks of one kind and the items they are of. An item may be spread over ranks. */
typedef struct sb_item_part {
  const sb_blocks *blocks; /* their min_bits and max_bits bound the widths */
  const sb_losses *losses; /* [blocks->count] */
  const uint32_t *item;    /* [blocks->count] in [0, items): number of the item of each block */
  size_t items;
  unsigned widths; /* bit b: width b may be chosen (model/width_rules.h) */
  uint8_t *bits;   /* [blocks->count] the result */
} sb_item_part;

/* bits[i] = the width of block i's item, for the least sum of losses with a storage of all parts of
 * at most `budget` bits. The cost and the loss of an item are the sums over its blocks, losses
 * exactly (mpi/exact.h), so the result does not depend on how blocks are spread. 1 bit is left out
 * for an item that needs no less storage with it than with 2.
 *
 * O(blocks x widths / ranks + items) work; 300 bytes per item on every rank. At most
 * SB_CHOOSE_PARTS parts. Errors as sb_choose_blocks, and SB_ERR_INTERNAL for an item out of range
 * or an empty set of widths. Collective; SB_OK on all ranks or on none. */
sb_status sb_choose_items(const sb_world *world, const sb_item_part *parts, size_t count,
                          uint64_t budget, sb_choose_result *result);
/* The same at a price, as sb_choose_at_price: each item of the part takes the width with the least
 * loss + price * cost, of equals the widest. */
sb_status sb_choose_items_at_price(const sb_world *world, const sb_item_part *part, double price,
                                   sb_choose_result *result);

#endif
