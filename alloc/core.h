/* The core of a multiple-choice knapsack (alloc/knapsack.h). A few items, its members, make their
 * choices together by dynamic programming over storage. Local.
 *
 * Each member stands at its best choice for a given price of storage (loss per bit). Let `dc` and
 * `dl` be the differences in cost and loss between another choice and that one. The other choice
 * then has the regret `dl + price dc >= 0`. The solution has the least sum of dl whose sum of dc is
 * within the room.
 *
 * Pruning. A solution with regrets of sum r that leaves u bits of the room unused is worse than the
 * linear relaxation by `r + price u`. So a partial solution is dropped once its regrets exceed the
 * gap between the relaxation and the best solution known. Among the rest, a partial solution stays
 * unless another one has no more cost and no more loss.
 *
 * Thinning. If more than 2^14 partial solutions are left, each interval of storage keeps only the
 * one of least regret, in a window of 8 of the largest steps around the room. Without thinning the
 * result is the optimum of the core.
 *
 * Time O(members x choices x 2^14), memory 5 bytes per member and partial solution. */
#ifndef SB_ALLOC_CORE_H
#define SB_ALLOC_CORE_H

#include <stddef.h>
#include <stdint.h>

#include "alloc/choice.h"
#include "base/status.h"

typedef struct sb_core_member {
  uint64_t id;
  double regret;  /* of its second best choice */
  uint32_t count; /* of choices */
  uint32_t at;    /* the choice it stands at */
  sb_choice choices[SB_CHOICES];
} sb_core_member;

/* Looks for choices that lower the members' loss by more than *saved. If it finds some: chosen[k] =
 * member k's choice, *saved = the reduction of the loss, *used = the storage taken from the room
 * (negative: given back). Otherwise *saved and *used stay and chosen[] is unspecified. The result
 * depends on the order of the members. SB_ERR_MEMORY. */
sb_status sb_core_solve(const sb_core_member *members, size_t count, double price, uint64_t room,
                        uint8_t *chosen, double *saved, int64_t *used);

/* Most bytes that sb_core_solve takes for `count` members. Pure. */
size_t sb_core_bytes(size_t count);

#endif
