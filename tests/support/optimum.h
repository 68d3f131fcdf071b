/* The exact optimum of a multiple-choice knapsack (alloc/knapsack.h) on one rank, by dynamic
 * programming over the storage: what the distributed allocators are held against. For tests and
 * benchmarks; nothing here is meant for whole models. */
#ifndef SB_TESTS_SUPPORT_OPTIMUM_H
#define SB_TESTS_SUPPORT_OPTIMUM_H

#include "alloc/knapsack.h"

typedef struct sb_optimum {
  double loss;   /* of the choices, added in the order of the items */
  uint64_t cost; /* of the choices */
  double bound;  /* no choices within the budget have less loss than this */
} sb_optimum;

/* chosen[i] = index of item i's choice. All costs are in units of the greatest common divisor of
 * their differences. With c units above the cheapest choices in the budget it takes
 * `O(items choices c)` time and `items x (c + 1)` bytes. SB_ERR_RANGE where the budget is below the
 * cheapest choices, or the table would have more than 2^30 bytes. Local. */
sb_status sb_optimum_dp(const sb_knapsack *items, uint64_t budget, uint8_t *chosen,
                        sb_optimum *out);

/* What the cheapest choices cost together. Local. */
uint64_t sb_optimum_least(const sb_knapsack *items);
/* Loss and cost of given choices; bound is -infinity. Local. */
sb_optimum sb_optimum_of(const sb_knapsack *items, const uint8_t *chosen);

#endif
