/* Items with choices of any kind that the contract of alloc/knapsack.h allows: numbers of choices
 * from one to eight, free ones, useless ones, ones off the hull, ties. Every rank can write them
 * all down. */
#ifndef SB_TESTS_ALLOC_RANDOM_ITEMS_H
#define SB_TESTS_ALLOC_RANDOM_ITEMS_H

#include <stdlib.h>

#include "alloc/knapsack.h"
#include "tests/support/random.h"

typedef struct random_items {
  size_t n;
  uint64_t *id;
  unsigned *count;
  sb_choice (*choice)[SB_CHOICES];
} random_items;

/* Losses of order 1, mostly falling with cost; every fifth seed has whole ones, so
 * that many are equal. */
static inline random_items random_items_create(size_t n, uint64_t seed) {
  random_items x = {n, calloc(n + 1, sizeof *x.id), calloc(n + 1, sizeof *x.count),
                    calloc(n + 1, sizeof *x.choice)};
  uint64_t s = seed * 1000003;
  for (size_t i = 0; i < n; i++) {
    uint64_t cost = 5 + draw(&s, 20);
    double loss = 4;
    x.id[i] = 2 * i + 1;
    x.count[i] = 1 + (unsigned)(draw(&s, SB_CHOICES));
    for (unsigned j = 0; j < x.count[i]; j++) {
      x.choice[i][j] = (sb_choice){cost, loss};
      cost += draw(&s, 6) ? 1 + draw(&s, 30) : 0;
      if (seed % 5 == 0)
        loss += (double)(draw(&s, 4)) - 2;
      else
        loss *= 0.05 + (double)(draw(&s, 1000)) / 950;
    }
  }
  return x;
}

static inline void random_items_free(random_items *x) {
  free(x->id);
  free(x->count);
  free(x->choice);
}

static inline unsigned random_items_choices(void *context, size_t i, sb_choice *out) {
  const random_items *x = context;
  for (unsigned j = 0; j < x->count[i]; j++) out[j] = x->choice[i][j];
  return x->count[i];
}

static inline sb_knapsack random_items_all(random_items *x) {
  return (sb_knapsack){x->n, x->id, SB_CHOICES, x, random_items_choices};
}

static inline uint64_t random_items_most(const random_items *x) {
  uint64_t sum = 0;
  for (size_t i = 0; i < x->n; i++) sum += x->choice[i][x->count[i] - 1].cost;
  return sum;
}

#endif
