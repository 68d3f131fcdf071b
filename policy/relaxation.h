/* The linear relaxation of a multiple-choice knapsack, in whole numbers: what exact search begins
 * with (policy/exact_knapsack.h). Local.
 *
 * An item's steps along the lower hull of its (weight, loss) points save less and less loss per
 * weight. Steps of all items are taken best first, until one no longer fits: its rate is the price
 * p/q of weight. The choice that every item then stands at is its best one for that price. */
#ifndef SB_POLICY_RELAXATION_H
#define SB_POLICY_RELAXATION_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

typedef __int128 sb_wide;

typedef struct sb_exact_choice {
  uint64_t weight;
  int64_t loss;
} sb_exact_choice;

/* Losses are at least 0. Sums over all items of the largest weights are below 2^62, and of the
 * largest losses below 2^60: sums then fit 64 bits, and products 128. */
typedef struct sb_exact_items {
  size_t count;
  size_t choices;                /* of every item, 1 to 255 */
  const sb_exact_choice *choice; /* [count, choices], in any order; equal ones may occur */
} sb_exact_items;

/* An item without the choices that another one beats: ascending in weight, falling in loss. */
typedef struct sb_relaxed_item {
  size_t number, count, at; /* `at`: the choice that it stands at */
  sb_exact_choice *choice;  /* [count] */
  uint8_t *index;           /* [count] of each in the caller's table */
  sb_wide regret;           /* of the second best choice */
} sb_relaxed_item;

/* A step along an item's hull, from one of its choices to another. */
typedef struct sb_relaxed_step {
  uint32_t item; /* its number */
  uint8_t from, to;
  int64_t saved;    /* loss, above 0 */
  uint64_t heavier; /* weight, above 0 */
} sb_relaxed_step;

typedef struct sb_relaxation {
  size_t count;
  sb_relaxed_item *items; /* [count] */
  sb_relaxed_step *steps; /* best first */
  size_t step_count, taken;
  sb_wide p, q;            /* the price of weight; 0 / 1 where all steps were taken */
  int64_t room;            /* of the capacity, beside the choices that the items stand at */
  int64_t loss;            /* of these choices */
  sb_exact_choice *choice; /* of all items */
  uint8_t *index;
} sb_relaxation;

/* Sum of the least weights of all items, and of the largest. O(items choices). */
uint64_t sb_exact_least(const sb_exact_items *items);
uint64_t sb_exact_most(const sb_exact_items *items);

/* SB_ERR_RANGE where the capacity is below sb_exact_least; SB_ERR_INTERNAL for numbers outside the
 * limits above; SB_ERR_MEMORY. The items come in their own order. Release with sb_relaxation_free.
 * O(n log n) for n choices. */
sb_status sb_relaxation_create(const sb_exact_items *items, uint64_t capacity, sb_relaxation *out);
void sb_relaxation_free(sb_relaxation *relaxation);

/* `q dl + p dw` of a choice of an item, against the one that it stands at: at least 0. */
sb_wide sb_relaxation_regret(const sb_relaxation *relaxation, const sb_relaxed_item *item,
                             size_t choice);
/* Sets the regrets of all items and orders them by it; items without a choice come last. */
void sb_relaxation_order(sb_relaxation *relaxation);
/* No solution whose choices have these regrets together has less loss than this, against the
 * relaxation's choices: the relaxation's bound, up to the next whole number. */
int64_t sb_relaxation_bound(const sb_relaxation *relaxation, sb_wide regrets);
/* A solution: at[i] = a choice among item number i's own. Steps behind the relaxation's are taken
 * where they fit. Returns its loss against the relaxation's choices. Before sb_relaxation_order. */
int64_t sb_relaxation_fill(const sb_relaxation *relaxation, uint8_t *at);

#endif
