/* Items in place of blocks (model/ties.h): the search (alloc/search.h) moves a whole matrix, or all
 * matrices that a server fuses, between the widths that may be chosen. To the search an item is a
 * block whose widths are the numbers of these: step 1 is the least width, step 2 the next. Rank 0
 * has all items, the others none: there are 4 to 7 a layer.
 *
 * Gains of blocks are of one bit more or less. A step of several bits is worth what errors that
 * fall by 4 with each bit make of that: raising by k bits gains (1 - 4^-k) / (1 - 4^-1) as much as
 * by one, cutting by k loses (4^k - 1) / 3 as much. The search checks every batch by the model's
 * own loss.
 */
#ifndef SB_ALLOC_ITEMS_H
#define SB_ALLOC_ITEMS_H

#include <stdint.h>

#include "alloc/blocks.h"
#include "alloc/owned.h"
#include "base/status.h"
#include "model/model.h"
#include "model/width_rules.h"

typedef struct sb_items {
  const sb_model *model;
  const sb_owned *owned;
  size_t count;                 /* of the model */
  uint32_t *item;               /* [owned->blocks.count] of each own block */
  uint8_t width[SB_WIDTHS];     /* of each step, from 1 */
  unsigned steps;               /* widths to choose from */
  uint64_t (*costs)[SB_WIDTHS]; /* [count] storage bits by step, on every rank */
  sb_blocks blocks; /* what the search moves: `width`s are steps. Points into the above */
  uint64_t *id;
  uint8_t *of_item; /* [count] scratch */
} sb_items;

/* item[i] = the item of own block i; *count = their number in the model. Local. O(blocks). */
sb_status sb_items_number(const sb_model *model, const sb_owned *owned, sb_width_scope scope,
                          uint32_t **item, size_t *count);

/* Items of the blocks in `owned`, which stays alive as long, with the widths of `widths` in its
 * bounds. SB_ERR_INTERNAL where there is none. Collective. 100 bytes per item on every rank. */
sb_status sb_items_create(const sb_model *model, const sb_owned *owned, sb_width_scope scope,
                          sb_width_set widths, sb_items *out);
void sb_items_free(sb_items *items);

/* bits[owned->blocks.count] = the widths that rank 0's steps[count] stand for. Collective. */
sb_status sb_items_spread(sb_items *items, const uint8_t *steps, uint8_t *bits);
/* The reverse, on rank 0: the least step whose width is at least that of each of the item's blocks.
 * Collective. */
sb_status sb_items_gather(sb_items *items, const uint8_t *bits, uint8_t *steps);
/* Rank 0's item_raise[count] and item_cut[count] = what a step up and a step down are worth, from
 * those of own blocks for one bit; exactly summed, so equal for any number of ranks. `steps` as in
 * sb_items_spread. SB_ERR_NUMERIC for a gain that is not finite. Collective. */
sb_status sb_items_gains(sb_items *items, const double *raise, const double *cut,
                         const uint8_t *steps, double *item_raise, double *item_cut);
/* The least step whose width is at least `bits`; the last where there is none. Pure. */
unsigned sb_items_step(const sb_items *items, unsigned bits);

#endif
