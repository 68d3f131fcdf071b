/* The exact knapsack against CBC, a branch-and-cut solver, on instances of the size of real models:
 * as many items as Llama-3-70B has linears, and GEMMs of half of it with three precisions. */
#include <math.h>

#include "policy/exact_knapsack.h"
#include "tests/support/assertions.h"
#include "tests/support/cbc.h"
#include "tests/support/random.h"

enum { MOST_ITEMS = 900, MOST_CHOICES = 3 };

static sb_exact_choice choice[MOST_ITEMS * MOST_CHOICES];
static sb_exact_items items;

/* Work of the seven linears of a layer, in the units of Llama-3-70B: q, k, v, o, gate, up, down. */
static const uint64_t work[] = {8, 1, 1, 8, 28, 28, 28};

static unsigned choices(void *context, size_t i, sb_choice *out) {
  (void)context;
  for (size_t j = 0; j < items.choices; j++)
    out[j] = (sb_choice){choice[i * items.choices + j].weight,
                         (double)choice[i * items.choices + j].loss};
  return (unsigned)items.choices;
}

/* Lighter choices lose more, by a number that is heavy-tailed and grows with the work. */
static void fill_items(size_t count, size_t most, uint64_t seed) {
  items = (sb_exact_items){count, most, choice};
  for (size_t i = 0; i < count; i++) {
    const double u = 0.5 + 0.5 * (double)uniform(&seed);
    const uint64_t w = work[i % 7];
    for (size_t j = 0; j < most; j++) {
      sb_exact_choice *c = &choice[i * most + j];
      c->weight = w * (j + 1);
      c->loss =
          j + 1 == most
              ? 0
              : (int64_t)(1e6 * (double)w * pow(u, 3) * (double)(most - 1 - j) * (1 + 0.3 * u));
    }
  }
}

static void compare(size_t count, size_t most, double share, uint64_t seed) {
  static uint64_t id[MOST_ITEMS];
  static uint8_t chosen[MOST_ITEMS], other[MOST_ITEMS];
  sb_exact_result exact;
  sb_optimum cbc;
  fill_items(count, most, seed);
  for (size_t i = 0; i < count; i++) id[i] = i;
  const sb_knapsack same = {count, id, (unsigned)most, NULL, choices};
  const uint64_t least = sb_exact_least(&items), largest = sb_exact_most(&items),
                 capacity = least + (uint64_t)(share * (double)(largest - least));
  assert_ok(sb_exact_solve(&items, capacity, chosen, &exact));
  assert_ok(sb_cbc_solve(&same, capacity, 0, 60, other, &cbc));
  assert_true(exact.weight <= capacity && cbc.cost <= capacity);
  assert_int_equal(exact.bound, exact.loss);
  /* CBC's tolerances are absolute, about 1e-7 of what one step is worth; never better than exact */
  assert_true((double)exact.loss <= cbc.loss);
  assert_true(cbc.loss - (double)exact.loss <= 1e-6 * cbc.loss);
  assert_true((double)exact.loss >= cbc.bound * (1 - 1e-6));
}

static void test_against_cbc(void **state) {
  (void)state;
  for (uint64_t seed = 0; seed < 3; seed++) {
    compare(560, 2, 0.25, seed);
    compare(560, 2, 0.5, seed + 10);
    compare(840, 3, 0.3, seed + 20);
    compare(70, 3, 0.6, seed + 30);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_against_cbc)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
