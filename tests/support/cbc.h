/* The optimum of a multiple-choice knapsack (alloc/knapsack.h) on one rank as an integer program
 * for CBC, a branch-and-cut solver: for instances too large for dynamic programming. For tests and
 * benchmarks, where CBC is installed. */
#ifndef SB_TESTS_SUPPORT_CBC_H
#define SB_TESTS_SUPPORT_CBC_H

#include "tests/support/optimum.h"

/* chosen[i] = index of item i's choice in the best solution found; `bound` is the one CBC proves.
 * It stops when the two are within `gap` of each other, as a share of what the loss is above the
 * sum of every item's least one, or after `seconds`.
 *
 * The program has one binary variable a choice, one equation an item and one row for the budget.
 * Losses are scaled to what a unit of storage is worth at the budget and storage to the largest
 * step of one item, because CBC's tolerances are absolute (1e-7 and thereabouts); a solution is
 * counted in whole bits afterwards.
 *
 * SB_ERR_RANGE where the budget is below the cheapest choices, SB_ERR_NUMERIC where CBC ends
 * without a solution or with one that is over the budget. Local. */
sb_status sb_cbc_solve(const sb_knapsack *items, uint64_t budget, double gap, double seconds,
                       uint8_t *chosen, sb_optimum *out);

#endif
