/* The exact knapsack against all combinations, and against dynamic programming over the weight. */
#include "policy/exact_knapsack.h"
#include "tests/support/assertions.h"
#include "tests/support/optimum.h"
#include "tests/support/random.h"

enum { MOST_ITEMS = 400, MOST_CHOICES = 4 };

typedef struct instance {
  sb_exact_items items;
  sb_exact_choice choice[MOST_ITEMS * MOST_CHOICES];
} instance;

/* Kinds of instances: losses of any size, losses proportional to the weight saved (where the
 * relaxation says nothing), few different values (many ties), and weights in any order. */
typedef enum kind { ANY, CORRELATED, TIES, KINDS } kind;

static void fill_instance(instance *x, kind k, size_t count, size_t choices, uint64_t *random) {
  x->items = (sb_exact_items){count, choices, x->choice};
  for (size_t i = 0; i < count * choices; i++) {
    const uint64_t weight = draw(random, k == TIES ? 4 : 1000);
    int64_t loss = (int64_t)draw(random, k == TIES ? 4 : 1000000);
    if (k == CORRELATED) loss = (int64_t)(1000 * (1000 - weight) + draw(random, 3));
    x->choice[i] = (sb_exact_choice){weight, loss};
  }
}

static void check_sums(const instance *x, uint64_t capacity, const uint8_t *chosen,
                       const sb_exact_result *result) {
  uint64_t weight = 0;
  int64_t loss = 0;
  for (size_t i = 0; i < x->items.count; i++) {
    assert_in_range(chosen[i], 0, x->items.choices - 1);
    weight += x->choice[i * x->items.choices + chosen[i]].weight;
    loss += x->choice[i * x->items.choices + chosen[i]].loss;
  }
  assert_int_equal(weight, result->weight);
  assert_int_equal(loss, result->loss);
  assert_true(weight <= capacity);
  assert_true(result->relaxed <= (double)loss * (1 + 1e-12));
}

/* Least loss of all combinations within the capacity. */
static int64_t brute_force(const instance *x, uint64_t capacity) {
  size_t at[MOST_ITEMS] = {0};
  int64_t best = INT64_MAX;
  for (;;) {
    uint64_t weight = 0;
    int64_t loss = 0;
    size_t i = 0;
    for (size_t k = 0; k < x->items.count; k++) {
      weight += x->choice[k * x->items.choices + at[k]].weight;
      loss += x->choice[k * x->items.choices + at[k]].loss;
    }
    if (weight <= capacity && loss < best) best = loss;
    while (i < x->items.count && ++at[i] == x->items.choices) at[i++] = 0;
    if (i == x->items.count) return best;
  }
}

static uint64_t capacity_of(const instance *x, uint64_t share, uint64_t of) {
  const uint64_t least = sb_exact_least(&x->items), most = sb_exact_most(&x->items);
  return least + (most - least) * share / of;
}

static void test_against_all_combinations(void **state) {
  static instance x;
  uint64_t random = 1;
  uint8_t chosen[MOST_ITEMS];
  (void)state;
  for (int round = 0; round < 600; round++) {
    const size_t choices = 1 + draw(&random, MOST_CHOICES), count = 1 + draw(&random, 7);
    sb_exact_result result;
    fill_instance(&x, (kind)(round % KINDS), count, choices, &random);
    const uint64_t capacity = capacity_of(&x, draw(&random, 12), 11);
    assert_ok(sb_exact_solve(&x.items, capacity, chosen, &result));
    check_sums(&x, capacity, chosen, &result);
    assert_int_equal(result.loss, brute_force(&x, capacity));
    assert_int_equal(result.bound, result.loss);
  }
}

/* The solver of tests/support wants choices by rising cost. */
static unsigned sorted_choices(void *context, size_t i, sb_choice *out) {
  const instance *x = context;
  const size_t n = x->items.choices;
  for (size_t j = 0; j < n; j++) {
    const sb_exact_choice c = x->choice[i * n + j];
    size_t k = j;
    for (; k > 0 && out[k - 1].cost > c.weight; k--) out[k] = out[k - 1];
    out[k] = (sb_choice){c.weight, (double)c.loss};
  }
  return (unsigned)n;
}

static void test_against_dynamic_programming(void **state) {
  static instance x;
  static uint64_t id[MOST_ITEMS];
  uint64_t random = 2;
  uint8_t chosen[MOST_ITEMS], other[MOST_ITEMS];
  (void)state;
  for (size_t i = 0; i < MOST_ITEMS; i++) id[i] = i;
  for (int round = 0; round < 30; round++) {
    const size_t choices = 2 + draw(&random, MOST_CHOICES - 1),
                 count = 20 + draw(&random, MOST_ITEMS - 20);
    sb_exact_result result;
    sb_optimum optimum;
    fill_instance(&x, (kind)(round % KINDS), count, choices, &random);
    const sb_knapsack same = {count, id, (unsigned)choices, &x, sorted_choices};
    const uint64_t capacity = capacity_of(&x, 1 + draw(&random, 9), 10);
    assert_ok(sb_exact_solve(&x.items, capacity, chosen, &result));
    check_sums(&x, capacity, chosen, &result);
    assert_ok(sb_optimum_dp(&same, capacity, other, &optimum));
    assert_int_equal(result.loss, (int64_t)optimum.loss); /* whole numbers: exact in double */
    assert_int_equal(result.bound, result.loss);
  }
}

/* Numbers near the limits, where 64 bits would not do. */
static void test_large_numbers(void **state) {
  static instance x;
  uint64_t random = 3;
  uint8_t chosen[MOST_ITEMS];
  (void)state;
  for (int round = 0; round < 100; round++) {
    sb_exact_result result;
    x.items = (sb_exact_items){6, 3, x.choice};
    for (size_t i = 0; i < 18; i++, random += 2)
      x.choice[i] = (sb_exact_choice){mix(random) >> 5, (int64_t)(mix(random + 1) >> 7)};
    const uint64_t capacity = capacity_of(&x, 0, 1) / 2 + capacity_of(&x, 1, 1) / 2;
    assert_ok(sb_exact_solve(&x.items, capacity, chosen, &result));
    check_sums(&x, capacity, chosen, &result);
    assert_int_equal(result.loss, brute_force(&x, capacity));
  }
  x.choice[7].loss = (int64_t)1 << 60;
  assert_int_equal(sb_exact_solve(&x.items, UINT64_MAX, chosen, &(sb_exact_result){0}),
                   SB_ERR_INTERNAL);
}

/* More partial solutions than are kept: weights without a common divisor, losses that nearly follow
 * them. The result is within the capacity, and its bound is proven, as the relaxation shows. */
static void test_bound_where_states_are_dropped(void **state) {
  static instance x;
  uint64_t random = 4;
  uint8_t chosen[MOST_ITEMS];
  sb_exact_result result;
  (void)state;
  x.items = (sb_exact_items){40, 3, x.choice};
  for (size_t i = 0; i < 40; i++) {
    const uint64_t a = (mix(random++) >> 24) + 1, b = (mix(random++) >> 24) + 1;
    x.choice[3 * i] = (sb_exact_choice){0, (int64_t)(2 * (a + b))};
    x.choice[3 * i + 1] = (sb_exact_choice){2 * a, (int64_t)(2 * b)};
    x.choice[3 * i + 2] = (sb_exact_choice){2 * (a + b), 0};
  }
  const uint64_t capacity = capacity_of(&x, 1, 2) | 1; /* odd, and all weights are even */
  assert_ok(sb_exact_solve(&x.items, capacity, chosen, &result));
  check_sums(&x, capacity, chosen, &result);
  assert_true(result.bound <= result.loss);
  assert_true((double)result.bound >= result.relaxed * (1 - 1e-12));
  assert_true((double)(result.loss - result.bound) <= 0x1p-16 * (double)result.loss);
}

static void test_impossible(void **state) {
  const sb_exact_choice choice[] = {{5, 1}, {4, 3}, {9, 0}, {7, 0}};
  const sb_exact_items items = {2, 2, choice};
  uint8_t chosen[2];
  sb_exact_result result;
  (void)state;
  assert_int_equal(sb_exact_least(&items), 11);
  assert_int_equal(sb_exact_most(&items), 14);
  assert_int_equal(sb_exact_solve(&items, 10, chosen, &result), SB_ERR_RANGE);
  assert_ok(sb_exact_solve(&items, 11, chosen, &result));
  assert_true(chosen[0] == 1 && chosen[1] == 1 && result.loss == 3);
  assert_ok(sb_exact_solve(&items, UINT64_MAX, chosen, &result));
  assert_true(chosen[0] == 0 && chosen[1] == 1 && result.loss == 1); /* the lighter of two equals */
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_against_all_combinations),
      cmocka_unit_test(test_against_dynamic_programming),
      cmocka_unit_test(test_large_numbers),
      cmocka_unit_test(test_bound_where_states_are_dropped),
      cmocka_unit_test(test_impossible),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
