/* Synthetic allocation problems that every rank can write down whole, and the part of them that is
 * this rank's. */
#ifndef SB_TESTS_ALLOC_INSTANCE_H
#define SB_TESTS_ALLOC_INSTANCE_H

#include <math.h>

#include "alloc/greedy.h"
#include "alloc/knapsack.h"
#include "kernels/blockrow.h"
#include "tests/support/ranks.h"

typedef struct instance {
  size_t n;
  uint64_t *id;
  uint16_t *rows, *cols;
  double *gain, *loss;
  uint8_t *bits;
  sb_blocks all; /* over the arrays above */
  size_t own;    /* of this rank, in order */
  size_t *place; /* [own] index into the arrays */
  uint64_t *own_id;
  uint16_t *own_rows, *own_cols;
  double *own_gain, *own_loss;
  uint8_t *own_bits;
  sb_blocks mine;
} instance;

typedef struct instance_kind {
  size_t n;
  int shapes; /* 1: all blocks 128 x 128; 2: also 64 x 128 and 128 x 64; 3: any, narrow ones too */
  bool few_values; /* predictions from a handful of values, zeros among them: ties */
  sb_code_kind code_kind;
  unsigned min_bits, max_bits;
} instance_kind;

static inline double lognormal(uint64_t *state) {
  double sum = 0;
  for (int i = 0; i < 12; i++) sum += (double)draw(state, 1u << 20) / (1 << 20);
  return 1e-6 * exp(2 * (sum - 6));
}

static inline void instance_alloc(void *out, size_t n, size_t size) {
  EXPECT_OK(sb_alloc(out, n, size, "test"));
}

/* Blocks go to ranks in runs of irregular length, and rank 1 of several goes away empty. */
static inline int owner_of(size_t k) {
  const int rank = (int)(mix(k / 5 + 17) % (uint64_t)world.size);
  return world.size > 2 && rank == 1 ? 0 : rank;
}

static inline instance instance_create(const instance_kind *kind, uint64_t seed) {
  instance x = {.n = kind->n};
  uint64_t s = seed * 7919;
  instance_alloc(&x.id, x.n, 8);
  instance_alloc(&x.rows, x.n, 2);
  instance_alloc(&x.cols, x.n, 2);
  instance_alloc(&x.gain, x.n, 8);
  instance_alloc(&x.loss, x.n, 8);
  instance_alloc(&x.bits, x.n, 1);
  instance_alloc(&x.place, x.n, sizeof *x.place);
  instance_alloc(&x.own_id, x.n, 8);
  instance_alloc(&x.own_rows, x.n, 2);
  instance_alloc(&x.own_cols, x.n, 2);
  instance_alloc(&x.own_gain, x.n, 8);
  instance_alloc(&x.own_loss, x.n, 8);
  instance_alloc(&x.own_bits, x.n, 1);
  for (size_t k = 0; k < x.n; k++) {
    const uint64_t shape = draw(&s, 3);
    x.id[k] = 3 * k + 1;
    x.rows[k] = kind->shapes > 1 && shape == 1 ? 64 : 128;
    x.cols[k] = kind->shapes > 1 && shape == 2 ? 64 : 128;
    if (kind->shapes == 3) {
      x.rows[k] = (uint16_t)(1 + draw(&s, 128));
      x.cols[k] = (uint16_t)(1 + draw(&s, 128));
    }
    x.gain[k] = kind->few_values ? (double)draw(&s, 3) - 1 : lognormal(&s);
    x.loss[k] = kind->few_values ? (double)draw(&s, 4) - 1 : 3 * lognormal(&s);
    x.bits[k] = (uint8_t)(kind->min_bits + draw(&s, kind->max_bits - kind->min_bits + 1));
    if (owner_of(k) == world.rank) x.place[x.own++] = k;
  }
  for (size_t i = 0; i < x.own; i++) {
    const size_t k = x.place[i];
    x.own_id[i] = x.id[k];
    x.own_rows[i] = x.rows[k];
    x.own_cols[i] = x.cols[k];
    x.own_gain[i] = x.gain[k];
    x.own_loss[i] = x.loss[k];
    x.own_bits[i] = x.bits[k];
  }
  x.all =
      (sb_blocks){x.n, x.id, x.rows, x.cols, kind->code_kind, kind->min_bits, kind->max_bits, NULL};
  x.mine = (sb_blocks){x.own,           x.own_id,       x.own_rows,     x.own_cols,
                       kind->code_kind, kind->min_bits, kind->max_bits, NULL};
  return x;
}

static inline void instance_free(instance *x) {
  sb_free(&x->id);
  sb_free(&x->rows);
  sb_free(&x->cols);
  sb_free(&x->gain);
  sb_free(&x->loss);
  sb_free(&x->bits);
  sb_free(&x->place);
  sb_free(&x->own_id);
  sb_free(&x->own_rows);
  sb_free(&x->own_cols);
  sb_free(&x->own_gain);
  sb_free(&x->own_loss);
  sb_free(&x->own_bits);
}

/* all[k] = the widths that the ranks hold in own[]. Collective. */
static inline void instance_collect(const instance *x, const uint8_t *own, uint8_t *all) {
  memset(all, 0, x->n);
  for (size_t i = 0; i < x->own; i++) all[x->place[i]] = own[i];
  EXPECT(MPI_Allreduce(MPI_IN_PLACE, all, (int)x->n, MPI_UINT8_T, MPI_MAX, world.comm) ==
         MPI_SUCCESS);
}

static inline uint64_t instance_cost(const instance *x, size_t k, unsigned bits) {
  return 8u * (uint64_t)sb_block_bytes(x->rows[k], x->cols[k], bits, x->all.code_kind);
}

/* The choices of block k in a step from its bits, as losses from everything at its best; context:
 * the instance. The least of them is at `instance_lowest`: a block never goes to 1 bit where that
 * holds no less than 2. */
static inline unsigned instance_lowest(const instance *x, size_t k) {
  const bool narrow = x->all.min_bits == 1 && x->all.max_bits > 1 &&
                      instance_cost(x, k, 1) >= instance_cost(x, k, 2);
  const unsigned least = narrow ? 2 : x->all.min_bits, down = x->bits[k] - 1u;
  return down > least ? down : least;
}

static inline unsigned instance_choices(void *context, size_t k, sb_choice *out) {
  const instance *x = context;
  const unsigned low = instance_lowest(x, k),
                 high = x->bits[k] < x->all.max_bits ? x->bits[k] + 1u : x->bits[k];
  const double gain = high > x->bits[k] ? fmax(x->gain[k], 0) : 0;
  for (unsigned bits = low; bits <= high; bits++)
    out[bits - low] =
        (sb_choice){instance_cost(x, k, bits), bits > x->bits[k]    ? 0
                                               : bits == x->bits[k] ? gain
                                                                    : gain + fmax(x->loss[k], 0)};
  return high - low + 1;
}

static inline sb_knapsack instance_knapsack(instance *x) {
  return (sb_knapsack){x->n, x->id, 3, x, instance_choices};
}

/* The loss of widths that a step reaches, counted as the choices count it. */
static inline double instance_loss(instance *x, const uint8_t *bits) {
  sb_choice c[SB_CHOICES];
  double sum = 0;
  for (size_t k = 0; k < x->n; k++) {
    instance_choices(x, k, c);
    sum += c[bits[k] - instance_lowest(x, k)].loss;
  }
  return sum;
}

static inline uint64_t instance_storage(const instance *x, const uint8_t *bits) {
  uint64_t sum = 0;
  for (size_t k = 0; k < x->n; k++) sum += instance_cost(x, k, bits[k]);
  return sum;
}

#endif
