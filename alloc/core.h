/* The core of a multiple-choice knapsack: a few items' choices made together, by dynamic
 * programming over storage. Local.
 *
 * Every member stands at a choice that is its best one at a price of storage: with differences dc
 * and dl of cost and loss from there, its other choices have a regret dl + price x dc >= 0. Wanted
 * are choices that lower the sum of dl most with the sum of dc within the room. A solution whose
 * regrets add up to r is worse by r, and by price x the room it leaves, than what the linear
 * relaxation promises; so a partial one whose regrets exceed what is known to be reachable is
 * dropped. Of partial solutions, those stay that no other one beats in cost and loss; when more
 * than 2^14 would, the one of least regret in each of as many intervals of the storage, within 8 of
 * the largest steps around the room. Without that thinning the result is the optimum of the core;
 * time O(members x choices x 2^14), memory 5 bytes a member and state. */
#ifndef SB_ALLOC_CORE_H
#define SB_ALLOC_CORE_H

#include <stddef.h>
#include <stdint.h>

#include "alloc/choice.h"
#include "base/status.h"

typedef struct sb_core_member {
  uint64_t id;
  double regret; /* of the second best choice */
  uint32_t count;
  uint32_t at; /* the choice it stands at */
  sb_choice choices[SB_CHOICES];
} sb_core_member;

/* chosen[k] = member k's choice, such that the members' loss is lowered by more than `saved`, as
 * much as possible; *saved is then by how much, and *used the storage it takes of the room
 * (negative: gives back). Where nothing better is found, *saved is left as it was and chosen[] is
 * unspecified. The result depends on the order of the members. SB_ERR_MEMORY. */
sb_status sb_core_solve(const sb_core_member *members, size_t count, double price, uint64_t room,
                        uint8_t *chosen, double *saved, int64_t *used);

#endif
