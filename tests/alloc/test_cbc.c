/* CBC against dynamic programming where that is possible, and the distributed step against CBC
 * where it is not. */
#include "instance.h"

#include "tests/support/cbc.h"
#include "loss_table.h"

static uint64_t budget_at(instance *x, double share) {
  const sb_knapsack blocks = instance_knapsack(x);
  sb_choice c[SB_CHOICES];
  const uint64_t least = sb_optimum_least(&blocks);
  uint64_t most = 0;
  for (size_t k = 0; k < x->n; k++) {
    const unsigned n = instance_choices(x, k, c);
    most += c[n - 1].cost;
  }
  return least + (uint64_t)(share * (double)(most - least));
}

/* CBC takes seconds a budget: one rank sees all budgets, two and three ranks one half each. */
static bool skips(int budget) {
  return world.size > 1 && budget % 2 == world.size % 2;
}

/* Two solvers that share nothing but the list of choices. */
static void test_two_solvers(void **state) {
  const instance_kind small[] = {{60, 2, false, SB_GRID_SYMMETRIC, 1, 6},
                                 {200, 2, false, SB_GRID_SYMMETRIC, 2, 4},
                                 {40, 3, false, SB_GRID_ASYMMETRIC, 1, 8}};
  const double shares[] = {0.05, 0.3, 0.6, 0.9, 0.98};
  (void)state;
  for (int i = 0; i < 3 && world.size == 1; i++) {
    instance x = instance_create(&small[i], 70 + (uint64_t)i);
    const sb_knapsack blocks = instance_knapsack(&x);
    uint8_t chosen[200];
    for (int b = 0; b < 5; b++) {
      const uint64_t budget = budget_at(&x, shares[b]);
      sb_optimum dp = {0}, cbc = {0};
      EXPECT_OK(sb_optimum_dp(&blocks, budget, chosen, &dp));
      EXPECT_OK(sb_cbc_solve(&blocks, budget, 0, 60, chosen, &cbc));
      EXPECT(cbc.cost <= budget);
      EXPECT(fabs(cbc.loss - dp.loss) <= 1e-6 * dp.loss); /* CBC's tolerances */
      EXPECT(cbc.bound <= cbc.loss && fabs(cbc.bound - dp.loss) <= 1e-6 * dp.loss);
    }
    EXPECT(sb_cbc_solve(&blocks, sb_optimum_least(&blocks) - 1, 0, 60, chosen, &(sb_optimum){0}) ==
           SB_ERR_RANGE);
    instance_free(&x);
  }
  all_ranks_passed();
}

/* Thousands of ragged blocks with heavy-tailed predictions, at every kind of budget: within 0.1% of
 * what CBC proves no choice to be below. CBC itself stops at 0.02%. */
static void test_step_against_cbc(void **state) {
  const instance_kind large[] = {{2000, 3, false, SB_GRID_ASYMMETRIC, 1, 8},
                                 {1200, 2, false, SB_GRID_ASYMMETRIC, 2, 5}};
  const double shares[] = {0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98, 0.995};
  double worst = 0;
  (void)state;
  for (int i = 0; i < 2; i++) {
    instance x = instance_create(&large[i], 80 + (uint64_t)i);
    const sb_knapsack blocks = instance_knapsack(&x);
    uint8_t *own = NULL, *got = NULL, *chosen = NULL;
    instance_alloc(&own, x.n, 1);
    instance_alloc(&got, x.n, 1);
    instance_alloc(&chosen, x.n, 1);
    for (int b = 0; b < 8; b++) {
      if (skips(b)) continue;
      const uint64_t budget = budget_at(&x, shares[b]);
      sb_step_result result = {0};
      sb_optimum cbc = {0};
      memcpy(own, x.own_bits, x.own);
      EXPECT_OK(sb_greedy_step(&world, &x.mine, x.own_gain, x.own_loss, budget, UINT64_MAX, own,
                               &result));
      instance_collect(&x, own, got);
      if (world.rank != 0) continue;
      EXPECT_OK(sb_cbc_solve(&blocks, budget, 2e-4, 60, chosen, &cbc));
      const double loss = instance_loss(&x, got);
      EXPECT(result.storage <= budget && instance_storage(&x, got) == result.storage);
      EXPECT(cbc.bound > 0 && loss >= cbc.bound * (1 - 1e-9));
      EXPECT(loss <= cbc.bound * (1 + 1e-3));
      worst = fmax(worst, loss / cbc.bound - 1);
    }
    sb_free(&own);
    sb_free(&got);
    sb_free(&chosen);
    instance_free(&x);
  }
  if (world.rank == 0) print_message("at most %.4f%% above CBC's bound\n", 100 * worst);
  all_ranks_passed();
}

/* All eight widths open, ragged blocks: the table's allocation against CBC. */
static void test_table_against_cbc(void **state) {
  const instance_kind kind = {500, 3, false, SB_GRID_ASYMMETRIC, 1, 8};
  const double shares[] = {0.05, 0.25, 0.5, 0.75, 0.95};
  instance x = instance_create(&kind, 90);
  loss_table t = loss_table_create(&x, 90);
  const sb_knapsack blocks = loss_table_knapsack(&t);
  uint8_t *own = NULL, *got = NULL, *chosen = NULL;
  double worst = 0, least = 0;
  (void)state;
  instance_alloc(&own, x.n, 1);
  instance_alloc(&got, x.n, 1);
  instance_alloc(&chosen, x.n, 1);
  for (size_t k = 0; k < x.n; k++) {
    double best = INFINITY;
    for (unsigned b = 1; b <= 8; b++) best = fmin(best, t.all[k][b]);
    least += best;
  }
  for (int b = 0; b < 5; b++) {
    if (skips(b)) continue;
    const uint64_t budget = loss_table_budget(&t, shares[b]);
    sb_choose_result result = {0};
    sb_optimum cbc = {0};
    EXPECT_OK(sb_choose_blocks(&world, &x.mine, t.own, budget, own, &result));
    instance_collect(&x, own, got);
    if (world.rank != 0) continue;
    EXPECT_OK(sb_cbc_solve(&blocks, budget, 2e-4, 60, chosen, &cbc));
    const double loss = loss_table_above(&t, got), bound = cbc.bound - least;
    EXPECT(result.storage <= budget);
    EXPECT(bound > 0 && loss >= bound * (1 - 1e-9));
    EXPECT(loss <= bound * (1 + 1e-3));
    worst = fmax(worst, loss / bound - 1);
  }
  if (world.rank == 0) print_message("table: at most %.4f%% above CBC's bound\n", 100 * worst);
  sb_free(&own);
  sb_free(&got);
  sb_free(&chosen);
  loss_table_free(&t);
  instance_free(&x);
  all_ranks_passed();
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_two_solvers),
    cmocka_unit_test(test_step_against_cbc),
    cmocka_unit_test(test_table_against_cbc),
};

RANKS_MAIN(tests)
