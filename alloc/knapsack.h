/* A multiple-choice knapsack over all ranks. Every item (a block, a whole matrix) has a few choices
 * (widths), each with a storage cost and a predicted loss. One choice per item is made, for the
 * least sum of losses with the sum of costs within a budget. Distributed: every rank holds its own
 * items, no rank sees all.
 *
 * 1. Relaxation. Every item begins at its cheapest choice. The steps along the lower convex hull
 *    of its (cost, loss) points are offered by loss saved per bit; along a hull they get worse,
 *    so the steps of an item come in order. They are taken best first until the budget is full
 *    (mpi/select.h: exact, ties by id). The result is the optimum of the linear relaxation but
 *    for the one step that no longer fits; the loss which that step saves per bit is the price
 *    of storage.
 * 2. Fill. The room that is left goes to steps behind that one, best first, round after round.
 * 3. Core. The 128 items whose second best choice is nearest to their best at the price of
 *    storage choose again, together, by dynamic programming over storage, on every rank alike
 *    (alloc/core.h). So exchanges use the room that single steps cannot.
 *
 * With few or unequal items the core decides: without it the result may be percents from the
 * optimum where little loss is left. The result does not depend on how items are spread over ranks.
 * O(items x choices / ranks) work and memory (24 bytes per step of the hulls), some tens of
 * all-reduces of 10^4 integers, and the core with 128 x 2^14 states at most.
 *
 * Sources: Sinha and Zoltners, The multiple-choice knapsack problem (1979), for the relaxation;
 * Pisinger, A minimal algorithm for the multiple-choice knapsack problem (1995), for the core. */
#ifndef SB_ALLOC_KNAPSACK_H
#define SB_ALLOC_KNAPSACK_H

#include <stddef.h>
#include <stdint.h>

#include "alloc/choice.h"
#include "base/status.h"
#include "mpi/world.h"

/* This rank's items. */
typedef struct sb_knapsack {
  size_t count;
  const uint64_t *id; /* ascending within a rank, distinct over all ranks, below 2^60 */
  unsigned most;      /* choices of any item, at most */
  void *context;
  /* Writes the choices of item i, by rising (or equal) cost; returns their number, 1 to `most`.
   * Local, O(1), the same every time, from one thread. */
  unsigned (*choices)(void *context, size_t i, sb_choice *out);
} sb_knapsack;

typedef struct sb_knapsack_result {
  uint64_t cost; /* of the choices, over all ranks */
  double gap; /* proven: no choices within the budget have a loss that is lower by more than this */
  double price; /* loss that the next bit of storage would save: of the first step that the
                   relaxation leaves out. 0 where all are made, or none exists */
} sb_knapsack_result;

/* chosen[i] = index of item i's choice. Of choices of one cost only those with the least loss are
 * made; a choice that costs more for the same loss is made last, where there is room. A budget
 * below all cheapest choices gives these, and a cost above the budget. SB_ERR_INTERNAL for choices
 * that break the rules above, naming the item. Collective; SB_OK on all ranks or on none. */
sb_status sb_knapsack_solve(const sb_world *world, const sb_knapsack *items, uint64_t budget,
                            uint8_t *chosen, sb_knapsack_result *result);
/* Most bytes that sb_knapsack_solve takes for `count` items with up to `most` choices. Pure. */
size_t sb_knapsack_bytes(size_t count, unsigned most);

/* Sum of the losses of given choices over all ranks, exactly added (mpi/exact.h). Collective. */
sb_status sb_knapsack_loss(const sb_world *world, const sb_knapsack *items, const uint8_t *chosen,
                           double *loss);

#endif
