/* Dynamic programming against trying everything. */
#include <math.h>

#include "tests/support/optimum.h"
#include "tests/alloc/random_items.h"
#include "tests/support/assertions.h"

/* The least loss within the budget over all combinations; infinite where none fits. */
static double by_trying(const random_items *x, uint64_t budget, size_t i, uint64_t cost,
                        double loss) {
  double best = INFINITY;
  if (cost > budget) return INFINITY;
  if (i == x->n) return loss;
  for (unsigned j = 0; j < x->count[i]; j++)
    best = fmin(best, by_trying(x, budget, i + 1, cost + x->choice[i][j].cost,
                                loss + x->choice[i][j].loss));
  return best;
}

static void test_against_trying(void **state) {
  (void)state;
  for (uint64_t seed = 0; seed < 200; seed++) {
    random_items x = random_items_create(1 + seed % 7, seed);
    const sb_knapsack items = random_items_all(&x);
    const uint64_t least = sb_optimum_least(&items), most = random_items_most(&x);
    uint8_t chosen[7];
    for (uint64_t b = 0; b <= 12; b++) {
      const uint64_t budget = least + (most - least) * b / 10;
      const double want = by_trying(&x, budget, 0, 0, 0);
      sb_optimum got = {0}, again;
      assert_int_equal(sb_optimum_dp(&items, budget, chosen, &got), SB_OK);
      again = sb_optimum_of(&items, chosen);
      assert_true(got.cost <= budget && got.cost == again.cost && got.loss == again.loss);
      assert_true(got.bound == got.loss);
      assert_true(fabs(got.loss - want) <=
                  1e-12); /* at most 7 losses of order 1, added in another order */
    }
    random_items_free(&x);
  }
}

static void test_refusals(void **state) {
  random_items x = random_items_create(5, 3);
  sb_knapsack items = random_items_all(&x);
  uint8_t chosen[5];
  sb_optimum got;
  (void)state;
  assert_int_equal(sb_optimum_dp(&items, sb_optimum_least(&items) - 1, chosen, &got), SB_ERR_RANGE);
  assert_non_null(strstr(sb_message(), "below the"));
  for (size_t i = 0; i < 5; i++) {
    x.count[i] = 2;
    x.choice[i][1].cost = x.choice[i][0].cost + 1000003 + i; /* no common unit */
  }
  assert_int_equal(sb_optimum_dp(&items, (uint64_t)1 << 40, chosen, &got), SB_OK);
  x.choice[0][1].cost += (uint64_t)1 << 40;
  assert_int_equal(sb_optimum_dp(&items, (uint64_t)1 << 50, chosen, &got), SB_ERR_RANGE);
  assert_non_null(strstr(sb_message(), "too many for dynamic programming"));
  random_items_free(&x);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_against_trying),
      cmocka_unit_test(test_refusals),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
