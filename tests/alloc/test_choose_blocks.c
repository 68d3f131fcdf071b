/* Allocation from a table of losses against dynamic programming, and against itself on one rank. */
#include "loss_table.h"

#include "tests/support/optimum.h"

/* bits[] of all blocks by all ranks together; checks that rank 0 alone chooses the same, and what
 * always holds. */
static sb_choose_result allocate(loss_table *t, uint64_t budget, uint8_t *bits) {
  const sb_world *one = world_alone();
  instance *x = t->x;
  sb_choose_result result = {0}, alone = {0};
  uint8_t *own = NULL, *by_one = NULL;
  instance_alloc(&own, x->own, 1);
  instance_alloc(&by_one, x->n, 1);
  EXPECT_OK(sb_choose_blocks(&world, &x->mine, t->own, budget, own, &result));
  instance_collect(x, own, bits);
  if (world.rank == 0) {
    double sum = 0;
    EXPECT_OK(sb_choose_blocks(one, &x->all, t->all, budget, by_one, &alone));
    EXPECT(memcmp(bits, by_one, x->n) == 0);
    EXPECT(result.storage == alone.storage && result.loss == alone.loss && result.gap == alone.gap);
    EXPECT(result.storage <= budget && result.storage == instance_storage(x, bits));
    for (size_t k = 0; k < x->n; k++) {
      sum += t->all[k][bits[k]];
      EXPECT(bits[k] >= loss_table_least(x, k) && bits[k] <= x->all.max_bits);
      for (unsigned b = loss_table_least(x, k); b < bits[k]; b++) /* nothing is spent for nothing */
        EXPECT(t->all[k][b] > t->all[k][bits[k]]);
    }
    EXPECT(fabs(result.loss - sum) <= 1e-12 * sum); /* sums of thousands of doubles */
  }
  sb_free(&own);
  sb_free(&by_one);
  return result;
}

static const double shares[] = {0, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98, 1};
enum { SHARES = sizeof shares / sizeof *shares };

/* Symmetric blocks of 128 x 128, 64 x 128 and 128 x 64 weights: costs in units of 8192 bits. */
static void test_near_the_optimum(void **state) {
  const size_t sizes[] = {1000, 200, 30, 3};
  double worst = 0;
  (void)state;
  for (uint64_t i = 0; i < 8; i++) {
    const instance_kind kind = {sizes[i % 4], 2, false, SB_GRID_SYMMETRIC, i < 4 ? 1 : 2,
                                i < 4 ? 8 : 5};
    instance x = instance_create(&kind, 100 + i);
    loss_table t = loss_table_create(&x, i);
    const sb_knapsack blocks = loss_table_knapsack(&t);
    uint8_t *bits = NULL, *chosen = NULL;
    instance_alloc(&bits, x.n, 1);
    instance_alloc(&chosen, x.n, 1);
    for (size_t b = 0; b < SHARES; b++) {
      const uint64_t budget = loss_table_budget(&t, shares[b]);
      const sb_choose_result result = allocate(&t, budget, bits);
      sb_optimum best = {0};
      if (world.rank != 0) continue;
      EXPECT_OK(sb_optimum_dp(&blocks, budget, chosen, &best));
      for (size_t k = 0; k < x.n; k++) chosen[k] = (uint8_t)(chosen[k] + loss_table_least(&x, k));
      const double loss = loss_table_above(&t, bits), optimum = loss_table_above(&t, chosen);
      EXPECT(result.loss >= best.loss * (1 - 1e-12) &&
             result.loss - result.gap <= best.loss * (1 + 1e-12));
      EXPECT(loss <=
             optimum * (1 + 1e-3) + 1e-12 * best.loss); /* the promise, and rounding of the sums */
      if (optimum > 1e-9 * best.loss) worst = fmax(worst, loss / optimum - 1);
    }
    sb_free(&bits);
    sb_free(&chosen);
    loss_table_free(&t);
    instance_free(&x);
  }
  if (world.rank == 0) print_message("at most %.5f%% from the optimum\n", 100 * worst);
  all_ranks_passed();
}

/* Blocks of any shape, narrow ones too; the proven gap is within 0.1% of what is left to lose. */
static void test_ragged(void **state) {
  const instance_kind kinds[] = {{3000, 3, false, SB_GRID_ASYMMETRIC, 1, 8},
                                 {3000, 2, false, SB_GRID_ASYMMETRIC, 2, 8},
                                 {20, 3, false, SB_GRID_ASYMMETRIC, 1, 8},
                                 {50, 3, false, SB_GRID_ASYMMETRIC, 1, 1}};
  (void)state;
  for (uint64_t i = 0; i < 4; i++) {
    instance x = instance_create(&kinds[i], 200 + i);
    loss_table t = loss_table_create(&x, 7 + i);
    uint8_t *bits = NULL;
    instance_alloc(&bits, x.n, 1);
    for (size_t b = 0; b < SHARES; b++) {
      const sb_choose_result result = allocate(&t, loss_table_budget(&t, shares[b]), bits);
      if (world.rank == 0 && x.n >= 1000 && shares[b] <= 0.75)
        EXPECT(result.gap <= 1e-3 * loss_table_above(&t, bits));
    }
    sb_free(&bits);
    loss_table_free(&t);
    instance_free(&x);
  }
  all_ranks_passed();
}

static void test_refusals(void **state) {
  const instance_kind kind = {60, 2, false, SB_GRID_ASYMMETRIC, 2, 4};
  instance x = instance_create(&kind, 9);
  loss_table t = loss_table_create(&x, 9);
  const uint64_t least = loss_table_budget(&t, 0);
  sb_choose_result result;
  char text[64];
  (void)state;
  EXPECT(sb_choose_blocks(&world, &x.mine, t.own, least - 1, x.own_bits, &result) == SB_ERR_RANGE);
  snprintf(text, sizeof text, "%llu", (unsigned long long)least);
  EXPECT(strstr(sb_message(), text) != NULL);
  snprintf(text, sizeof text, "%llu", (unsigned long long)loss_table_budget(&t, 1));
  EXPECT(strstr(sb_message(), text) != NULL);
  if (world.rank == 0) t.own[3][1] = NAN; /* a width that is not asked for */
  EXPECT_OK(sb_choose_blocks(&world, &x.mine, t.own, least, x.own_bits, &result));
  for (size_t i = 0; i < x.own; i++) EXPECT(x.own_bits[i] == 2);
  if (world.rank == 0) t.own[3][3] = INFINITY;
  EXPECT(sb_choose_blocks(&world, &x.mine, t.own, least, x.own_bits, &result) == SB_ERR_NUMERIC);
  EXPECT(strstr(sb_message(), "at 3 bits is inf") != NULL);
  x.mine.max_bits = 9;
  EXPECT(sb_choose_blocks(&world, &x.mine, t.own, least, x.own_bits, &result) == SB_ERR_INTERNAL);
  loss_table_free(&t);
  instance_free(&x);
  all_ranks_passed();
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_near_the_optimum),
    cmocka_unit_test(test_ragged),
    cmocka_unit_test(test_refusals),
};

RANKS_MAIN(tests)
