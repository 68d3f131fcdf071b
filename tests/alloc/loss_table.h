/* Tables of losses at all widths for the blocks of an instance, known to every rank, and this
 * rank's rows of them. */
#ifndef SB_TESTS_ALLOC_LOSS_TABLE_H
#define SB_TESTS_ALLOC_LOSS_TABLE_H

#include "alloc/choose_blocks.h"
#include "instance.h"

typedef struct loss_table {
  instance *x;
  double (*all)[SB_WIDTHS], (*own)[SB_WIDTHS];
} loss_table;

/* Heavy-tailed over the blocks, about a quarter with every bit more, but no rule: a bit may bring
 * nothing, or harm. */
static inline loss_table loss_table_create(instance *x, uint64_t seed) {
  loss_table t = {.x = x};
  uint64_t s = seed * 104729;
  instance_alloc(&t.all, x->n, sizeof *t.all);
  instance_alloc(&t.own, x->n, sizeof *t.own);
  for (size_t k = 0; k < x->n; k++) {
    double loss = 1e3 * lognormal(&s);
    t.all[k][0] = NAN; /* never to be read */
    for (unsigned bits = 1; bits < SB_WIDTHS; bits++) {
      t.all[k][bits] = loss;
      loss *= draw(&s, 10) ? 0.1 + 0.3 * (double)draw(&s, 1000) / 1000
                           : 0.9 + 0.2 * (double)draw(&s, 3) / 2;
    }
  }
  for (size_t i = 0; i < x->own; i++) memcpy(t.own[i], t.all[x->place[i]], sizeof *t.own);
  return t;
}

static inline void loss_table_free(loss_table *t) {
  sb_free(&t->all);
  sb_free(&t->own);
}

/* All widths of block k, but 1 bit where that holds no less than 2. */
static inline unsigned loss_table_least(const instance *x, size_t k) {
  const bool narrow = x->all.min_bits == 1 && x->all.max_bits > 1 &&
                      instance_cost(x, k, 1) >= instance_cost(x, k, 2);
  return narrow ? 2 : x->all.min_bits;
}

static inline unsigned loss_table_choices(void *context, size_t k, sb_choice *out) {
  const loss_table *t = context;
  const unsigned least = loss_table_least(t->x, k);
  for (unsigned bits = least; bits <= t->x->all.max_bits; bits++)
    out[bits - least] = (sb_choice){instance_cost(t->x, k, bits), t->all[k][bits]};
  return t->x->all.max_bits - least + 1;
}

static inline sb_knapsack loss_table_knapsack(loss_table *t) {
  return (sb_knapsack){t->x->n, t->x->id, SB_CHOICES, t, loss_table_choices};
}

/* The budget that is a share of the way from every block at its least to every block
 * at its largest width. */
static inline uint64_t loss_table_budget(const loss_table *t, double share) {
  uint64_t least = 0, most = 0;
  for (size_t k = 0; k < t->x->n; k++) {
    least += instance_cost(t->x, k, loss_table_least(t->x, k));
    most += instance_cost(t->x, k, t->x->all.max_bits);
  }
  return least + (uint64_t)(share * (double)(most - least));
}

/* What the losses are above every block's least one: percentages of this are not flattered by what
 * cannot be helped. */
static inline double loss_table_above(const loss_table *t, const uint8_t *bits) {
  double sum = 0;
  for (size_t k = 0; k < t->x->n; k++) {
    double least = INFINITY;
    for (unsigned b = t->x->all.min_bits; b <= t->x->all.max_bits; b++)
      least = fmin(least, t->all[k][b]);
    sum += t->all[k][bits[k]] - least;
  }
  return sum;
}

#endif
