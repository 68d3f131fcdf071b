/* The distributed step against a sort of all items on one rank, against the same step on one rank
 * alone, and against the optimum by dynamic programming. */
#include "instance.h"

#include "tests/support/optimum.h"

/* ---- the relaxation and the fill by sorting ---- */

typedef struct item {
  double density;
  uint64_t id;
  uint64_t weight;
  size_t block;
  int change;
} item;

static int by_density(const void *a, const void *b) {
  const item *x = a, *y = b;
  if (x->density != y->density) return x->density > y->density ? -1 : 1;
  return x->id < y->id ? -1 : x->id > y->id;
}

static uint64_t cost(const instance *x, size_t k, unsigned bits) {
  return instance_cost(x, k, bits);
}

static uint8_t all_cut(const instance *x, size_t k) {
  return (uint8_t)instance_lowest(x, k);
}

/* Round after round from everything cut: list what each block offers next, sort,
 * take while it fits. */
static void by_sorting(const instance *x, uint64_t budget, uint8_t *bits) {
  uint64_t used;
  item *list = NULL;
  instance_alloc(&list, 2 * x->n, sizeof *list);
  for (size_t k = 0; k < x->n; k++) bits[k] = all_cut(x, k);
  used = instance_storage(x, bits);
  for (int round = 0; round < 8 && used < budget; round++) {
    size_t count = 0, taken = 0;
    for (size_t k = 0; k < x->n; k++) {
      const bool down = bits[k] < x->bits[k], up = x->bits[k] < x->all.max_bits;
      const double value[2] = {fmax(x->loss[k], 0), fmax(x->gain[k], 0)};
      uint64_t weight[2] = {1, 1};
      if (bits[k] > x->bits[k]) continue;
      if (down && cost(x, k, x->bits[k]) > cost(x, k, x->bits[k] - 1u))
        weight[0] = cost(x, k, x->bits[k]) - cost(x, k, x->bits[k] - 1u);
      if (up && cost(x, k, x->bits[k] + 1u) > cost(x, k, x->bits[k]))
        weight[1] = cost(x, k, x->bits[k] + 1u) - cost(x, k, x->bits[k]);
      const bool steep = up && value[1] / (double)weight[1] > value[0] / (double)weight[0];
      if (down && steep && weight[0] + weight[1] <= budget - used) {
        list[count++] = (item){(value[0] + value[1]) / (double)(weight[0] + weight[1]),
                               2 * x->id[k], weight[0] + weight[1], k, 2};
        continue;
      }
      if (down && weight[0] > budget - used) continue;
      if (down) list[count++] = (item){value[0] / (double)weight[0], 2 * x->id[k], weight[0], k, 1};
      if (up && value[1] > 0 && weight[1] <= budget - used && !(down && steep))
        list[count++] = (item){value[1] / (double)weight[1], 2 * x->id[k] + 1, weight[1], k, 1};
    }
    qsort(list, count, sizeof *list, by_density);
    while (taken < count && used + list[taken].weight <= budget) {
      used += list[taken].weight;
      bits[list[taken].block] = (uint8_t)(bits[list[taken].block] + list[taken].change);
      taken++;
    }
    if (taken == 0) break;
  }
  sb_free(&list);
}

/* ---- checks of any step ---- */

static double value_of(const instance *x, const uint8_t *bits) {
  double sum = 0;
  for (size_t k = 0; k < x->n; k++) {
    if (bits[k] > x->bits[k]) sum += fmax(x->gain[k], 0);
    if (bits[k] < x->bits[k]) sum -= fmax(x->loss[k], 0);
  }
  return sum;
}

static sb_step_result step(instance *x, uint64_t budget, uint64_t most, uint8_t *out) {
  sb_step_result result = {0};
  uint8_t *own = NULL;
  uint64_t raised = 0, cut = 0;
  instance_alloc(&own, x->own, 1);
  memcpy(own, x->own_bits, x->own);
  EXPECT_OK(sb_greedy_step(&world, &x->mine, x->own_gain, x->own_loss, budget, most, own, &result));
  instance_collect(x, own, out);
  for (size_t k = 0; k < x->n; k++) {
    EXPECT(out[k] + 1 >= x->bits[k] && out[k] <= x->bits[k] + 1);
    EXPECT(out[k] >= x->all.min_bits && out[k] <= x->all.max_bits);
    raised += out[k] > x->bits[k];
    cut += out[k] < x->bits[k];
  }
  EXPECT(result.raised == raised && result.cut == cut);
  EXPECT(result.storage == instance_storage(x, out));
  EXPECT(fabs(result.gain - result.loss - value_of(x, out)) <=
         1e-12 * (result.gain + result.loss) + 1e-20);
  sb_free(&own);
  return result;
}

static const instance_kind kinds[] = {
    {1500, 1, false, SB_GRID_ASYMMETRIC, 1, 8}, {1500, 2, false, SB_GRID_SYMMETRIC, 2, 4},
    {700, 3, false, SB_GRID_ASYMMETRIC, 1, 3},  {900, 2, true, SB_GRID_ASYMMETRIC, 2, 5},
    {40, 3, true, SB_GRID_ASYMMETRIC, 1, 8},    {3, 1, false, SB_GRID_SYMMETRIC, 1, 8},
    {1, 2, false, SB_GRID_ASYMMETRIC, 2, 3},
};
enum { KINDS = sizeof kinds / sizeof *kinds };

/* Budgets from below everything cut to above everything raised, and the present storage to the bit.
 * The step is never worse than the sort, and is what one rank with all blocks does. */
static void test_against_sorting(void **state) {
  const sb_world *one = world_alone();
  int better = 0;
  (void)state;
  for (int i = 0; i < KINDS; i++) {
    instance x = instance_create(&kinds[i], (uint64_t)i);
    uint8_t *got = NULL, *alone = NULL, *sorted = NULL;
    const uint64_t now = instance_storage(&x, x.bits);
    const uint64_t budgets[] = {0,   now / 2, now * 8 / 10,  now * 95 / 100, now - 1,
                                now, now + 1, now * 11 / 10, now * 2,        now * 20};
    instance_alloc(&got, x.n, 1);
    instance_alloc(&alone, x.n, 1);
    instance_alloc(&sorted, x.n, 1);
    for (size_t b = 0; b < sizeof budgets / sizeof *budgets; b++) {
      const sb_step_result result = step(&x, budgets[b], UINT64_MAX, got);
      sb_step_result by_one;
      memcpy(alone, x.bits, x.n);
      EXPECT_OK(
          sb_greedy_step(one, &x.all, x.gain, x.loss, budgets[b], UINT64_MAX, alone, &by_one));
      EXPECT(memcmp(got, alone, x.n) == 0);
      EXPECT(result.gain == by_one.gain && result.loss == by_one.loss &&
             result.storage == by_one.storage);
      by_sorting(&x, budgets[b], sorted);
      if (result.storage > budgets[b]) { /* only when nothing more can be freed */
        for (size_t k = 0; k < x.n; k++) EXPECT(cost(&x, k, got[k]) == cost(&x, k, all_cut(&x, k)));
      } else {
        const double loss = instance_loss(&x, got), bar = instance_loss(&x, sorted);
        EXPECT(loss <= bar * (1 + 1e-12)); /* sums of thousands of doubles */
        better += loss < bar * (1 - 1e-9);
      }
    }
    sb_free(&got);
    sb_free(&alone);
    sb_free(&sorted);
    instance_free(&x);
  }
  EXPECT(better > 5); /* the core is at work */
  all_ranks_passed();
}

/* Symmetric blocks of 128 x 128, 64 x 128 and 128 x 64 weights cost a multiple of 8192
 * bits more with every bit, so the table is small. Budgets from nearly everything cut
 * to nearly everything raised. */
static void test_near_the_optimum(void **state) {
  const size_t sizes[] = {1200, 200, 60, 12, 4};
  const double shares[] = {0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.98, 0.995};
  double worst = 0;
  (void)state;
  for (size_t i = 0; i < 5; i++)
    for (uint64_t seed = 0; seed < 3; seed++) {
      const instance_kind kind = {sizes[i], 2, false, SB_GRID_SYMMETRIC, 1, 6};
      instance x = instance_create(&kind, seed + 50);
      const sb_knapsack blocks = instance_knapsack(&x);
      uint8_t *got = NULL, *chosen = NULL;
      uint64_t least = 0, most = 0;
      instance_alloc(&got, x.n, 1);
      instance_alloc(&chosen, x.n, 1);
      for (size_t k = 0; k < x.n; k++) {
        least += cost(&x, k, all_cut(&x, k));
        most += cost(&x, k, x.bits[k] < x.all.max_bits ? x.bits[k] + 1u : x.bits[k]);
      }
      for (size_t b = 0; b < sizeof shares / sizeof *shares; b++) {
        const uint64_t budget = least + (uint64_t)(shares[b] * (double)(most - least));
        sb_optimum best = {0};
        EXPECT_OK(sb_optimum_dp(&blocks, budget, chosen, &best));
        EXPECT(step(&x, budget, UINT64_MAX, got).storage <= budget);
        const double loss = instance_loss(&x, got);
        EXPECT(loss >= best.loss * (1 - 1e-12)); /* sums of thousands of doubles */
        EXPECT(loss <= best.loss * (1 + 1e-3));  /* the promise */
        if (best.loss > 0) worst = fmax(worst, loss / best.loss - 1);
      }
      sb_free(&got);
      sb_free(&chosen);
      instance_free(&x);
    }
  if (world.rank == 0) print_message("at most %.5f%% from the optimum\n", 100 * worst);
  all_ranks_passed();
}

/* A bounded step goes part of the unbounded one's way: no raise or cut that that would not make,
 * raises within the bound and best first, cuts cheapest first and no more than needed. */
static void test_bounded(void **state) {
  (void)state;
  for (int i = 0; i < KINDS; i++) {
    instance x = instance_create(&kinds[i], (uint64_t)i + 20);
    uint8_t *full = NULL, *got = NULL;
    const uint64_t now = instance_storage(&x, x.bits);
    const uint64_t budgets[] = {now * 9 / 10, now, now * 12 / 10},
                   bounds[] = {0, now / 1000, now / 50, now / 4, now * 8};
    instance_alloc(&full, x.n, 1);
    instance_alloc(&got, x.n, 1);
    for (size_t b = 0; b < 15; b++) {
      const uint64_t budget = budgets[b / 5], most = bounds[b % 5];
      uint64_t raised = 0, dearest = 0;
      double worst_raise = INFINITY, best_left = 0, dearest_cut = 0, cheapest_left = INFINITY;
      const sb_step_result unbounded = step(&x, budget, UINT64_MAX, full),
                           bounded = step(&x, budget, most, got);
      for (size_t k = 0; k < x.n; k++) {
        const bool up = full[k] > x.bits[k], down = full[k] < x.bits[k];
        const uint64_t next = up && cost(&x, k, full[k]) > cost(&x, k, x.bits[k])
                                  ? cost(&x, k, full[k]) - cost(&x, k, x.bits[k])
                                  : 1;
        const uint64_t before = down ? cost(&x, k, x.bits[k]) - cost(&x, k, full[k]) : 0;
        const double gain = fmax(x.gain[k], 0) / (double)next,
                     loss = before ? fmax(x.loss[k], 0) / (double)before : INFINITY;
        EXPECT(got[k] == x.bits[k] || got[k] == full[k]);
        if (up && got[k] > x.bits[k]) {
          raised += next;
          worst_raise = fmin(worst_raise, gain);
        } else if (up) {
          best_left = fmax(best_left, gain);
        }
        if (down && got[k] < x.bits[k]) {
          dearest_cut = fmax(dearest_cut, loss);
          dearest = before > dearest ? before : dearest;
        } else if (down) {
          cheapest_left = fmin(cheapest_left, loss);
        }
      }
      EXPECT(raised <= most);
      EXPECT(worst_raise >= best_left);
      EXPECT(dearest_cut <= cheapest_left);
      if (unbounded.storage <= budget) {
        EXPECT(bounded.storage <= budget);
        if (bounded.cut > 0) EXPECT(bounded.storage + dearest > budget);
      }
      if (most > now * 7 && now <= budget && unbounded.cut > 0)
        EXPECT(bounded.raised == unbounded.raised);
      if (now <= budget && bounded.cut > 0) EXPECT(bounded.gain >= bounded.loss);
    }
    sb_free(&full);
    sb_free(&got);
    instance_free(&x);
  }
  all_ranks_passed();
}

static void test_refusals(void **state) {
  const instance_kind kind = {50, 1, false, SB_GRID_ASYMMETRIC, 2, 4};
  instance x = instance_create(&kind, 9);
  sb_step_result result;
  double saved = 0;
  (void)state;
  if (x.own > 3) {
    saved = x.own_gain[3];
    x.own_gain[3] = NAN;
  }
  EXPECT(sb_greedy_step(&world, &x.mine, x.own_gain, x.own_loss, 1000, UINT64_MAX, x.own_bits,
                        &result) == SB_ERR_NUMERIC);
  EXPECT(strstr(sb_message(), "block ") && strstr(sb_message(), "nan"));
  if (x.own > 3) x.own_gain[3] = saved;
  if (world.rank == 0) x.own_bits[0] = 5;
  EXPECT(sb_greedy_step(&world, &x.mine, x.own_gain, x.own_loss, 1000, UINT64_MAX, x.own_bits,
                        &result) == SB_ERR_INTERNAL);
  EXPECT(strstr(sb_message(), "allowed are 2 to 4") != NULL);
  instance_free(&x);
  all_ranks_passed();
}

/* A narrow block holds more at 1 bit than at 2: it is not cut to 1, and leaves it for free. */
static void test_narrow_blocks(void **state) {
  const uint64_t id[2] = {0, 1};
  const uint16_t rows[2] = {128, 128}, cols[2] = {8, 8};
  const double gain[2] = {1, 1}, loss[2] = {0, 0};
  const sb_blocks blocks = {world.rank == 0 ? 2 : 0, id, rows, cols,
                            SB_GRID_ASYMMETRIC,      1,  8,    NULL};
  uint8_t bits[2] = {2, 1};
  uint64_t least, most;
  sb_step_result result;
  (void)state;
  EXPECT_OK(sb_blocks_range(&world, &blocks, &least, &most));
  EXPECT(least == 2 * 8 * sb_block_bytes(128, 8, 2, SB_GRID_ASYMMETRIC));
  EXPECT_OK(sb_greedy_step(&world, &blocks, gain, loss, least, UINT64_MAX, bits, &result));
  if (world.rank == 0) EXPECT(bits[0] == 2 && bits[1] == 2);
  EXPECT(result.storage == least);
  all_ranks_passed();
}

/* Rows of codes are padded to bytes, so neighbouring widths of a narrow block may take the same. A
 * cut goes on to the next width that takes less: every step frees something until all is at its
 * least, and a cut of several bits is told to lose more than one of one bit. */
static void test_padded_blocks(void **state) {
  (void)state;
  for (uint16_t cols = 1; cols < 9; cols++)
    for (uint16_t rows = 1; rows <= 64; rows += 21)
      for (int symmetric = 0; symmetric < 2; symmetric++) {
        const uint64_t id[2] = {0, 1};
        const uint16_t r[2] = {rows, rows}, c[2] = {cols, cols};
        const double gain[2] = {1, 1}, loss[2] = {1, 2};
        const sb_code_kind code_kind = symmetric ? SB_GRID_SYMMETRIC : SB_GRID_ASYMMETRIC;
        const sb_blocks blocks = {world.rank == 0 ? 2 : 0, id, r, c, code_kind, 1, 8, NULL};
        uint8_t bits[2] = {8, 8};
        uint64_t least, most, storage;
        sb_step_result result;
        EXPECT_OK(sb_blocks_range(&world, &blocks, &least, &most));
        EXPECT_OK(sb_blocks_total(&world, &blocks, bits, &storage));
        for (int steps = 0; storage > least; steps++) {
          const unsigned before = bits[0];
          EXPECT_OK(sb_greedy_step(&world, &blocks, gain, loss, least, UINT64_MAX, bits, &result));
          EXPECT(result.storage < storage && steps < 7);
          if (world.rank == 0) EXPECT(before - bits[0] == 1 || result.loss >= (1 + 2) * 5.0);
          storage = result.storage;
        }
        EXPECT(storage == least);
      }
  all_ranks_passed();
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_against_sorting), cmocka_unit_test(test_near_the_optimum),
    cmocka_unit_test(test_bounded),         cmocka_unit_test(test_refusals),
    cmocka_unit_test(test_narrow_blocks),   cmocka_unit_test(test_padded_blocks),
};

RANKS_MAIN(tests)
