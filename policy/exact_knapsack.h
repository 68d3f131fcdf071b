/* A multiple-choice knapsack solved to the optimum, in whole numbers, on one rank: every item makes
 * one choice, for the least sum of losses with the sum of weights within a capacity. The items are
 * the decisions of a policy (policy/choose.h): hundreds or thousands, where alloc/knapsack.h has
 * millions over all ranks and proves a gap. Local; the same result on every machine.
 *
 * 1. Relaxation (policy/relaxation.h): a choice for every item, and a price p/q of weight.
 * 2. Dynamic programming over partial solutions, none of which another one beats in weight and
 *    loss. The items come in the order of the regret `q dl + p dw >= 0` of their second best
 *    choice. A partial solution is dropped once its regrets exceed the distance between the
 *    relaxation and the best solution known, or when the items that are left cannot bring it
 *    within the capacity.
 *
 * All arithmetic is whole (128 bits where products need it), so pruning is exact and the optimum is
 * proven. With w different sums of weights it takes `O(items choices w)` time at most and 5 bytes
 * per partial solution; pruning leaves a small part. Of more than 2^16 partial solutions one stays
 * for each of 2^16 intervals of weight, that of least regret; `bound` then says what is still
 * proven.
 *
 * Sources: Dudzinski and Walukiewicz, Exact methods for the knapsack problem and its
 * generalizations (1987); Pisinger, A minimal algorithm for the multiple-choice knapsack problem
 * (1995). */
#ifndef SB_POLICY_EXACT_KNAPSACK_H
#define SB_POLICY_EXACT_KNAPSACK_H

#include <stdint.h>

#include "base/status.h"
#include "policy/relaxation.h"

typedef struct sb_exact_result {
  int64_t loss;    /* of the choices */
  uint64_t weight; /* of the choices */
  int64_t bound;   /* no choices within the capacity have less loss; equal to `loss`: the optimum */
  double relaxed;  /* loss of the linear relaxation */
  uint64_t solutions; /* partial ones that were looked at */
} sb_exact_result;

/* chosen[i] = index of item i's choice. Of several optima the same one is taken on every machine.
 * SB_ERR_RANGE where the capacity is below sb_exact_least; SB_ERR_INTERNAL for numbers
 * outside the limits of sb_exact_items; SB_ERR_MEMORY. */
sb_status sb_exact_solve(const sb_exact_items *items, uint64_t capacity, uint8_t *chosen,
                         sb_exact_result *out);

#endif
