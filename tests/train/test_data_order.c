/* The order of training data: permutations, shares of sources, and that no number of ranks, steps
 * or machines is in it. */
#include "train/data_order.h"

#include <math.h>
#include <string.h>

#include "base/random.h"
#include "tests/support/assertions.h"

/* Every n up to a few hundred, and the sizes around powers of two: each place is taken once. */
static void test_permutation(void **state) {
  enum { MOST = 5000 };
  static const uint64_t larger[] = {1023, 1024, 1025, 4095, 4096, 4097};
  static uint8_t taken[MOST];
  (void)state;
  for (uint64_t k = 1; k <= 306; k++) {
    const uint64_t n = k <= 300 ? k : larger[k - 301];
    memset(taken, 0, sizeof taken);
    for (uint64_t i = 0; i < n; i++) {
      const uint64_t at = sb_data_permuted(k * 7, i, n);
      assert_true(at < n && !taken[at]);
      taken[at] = 1;
    }
  }
}

/* Where element 0 and the step from element 0 to 1 go, over many keys: chi-square with 99 degrees
 * of freedom, which a uniform law exceeds by 150 in less than one of a thousand cases. */
static void test_keys_permute_evenly(void **state) {
  enum { N = 100, KEYS = 20000 };
  double place[N] = {0}, step[N] = {0}, chi_place = 0, chi_step = 0;
  (void)state;
  for (uint64_t key = 0; key < KEYS; key++) {
    const uint64_t a = sb_data_permuted(sb_mix64_with(1, key), 0, N),
                   b = sb_data_permuted(sb_mix64_with(1, key), 1, N);
    place[a]++;
    step[(b + N - a) % N]++;
  }
  assert_true(step[0] == 0);
  for (size_t i = 0; i < N; i++) {
    const double mean = KEYS / (double)N, other = KEYS / (double)(N - 1);
    chi_place += (place[i] - mean) * (place[i] - mean) / mean;
    if (i > 0) chi_step += (step[i] - other) * (step[i] - other) / other;
  }
  assert_true(chi_place < 150 && chi_step < 150);
  assert_true(chi_place > 50 && chi_step > 50); /* nor is it too even */
}

/* Every beginning of the order holds the sources by their weights, and a source's samples are its
 * windows, each once in a pass, in another order the next time. */
static void test_sources(void **state) {
  static const sb_data_source sources[] = {{7, 40}, {2, 25}, {1, 3}, {1000, 5000}};
  const sb_data_order order = {99, 4, sources};
  uint64_t counts[4] = {0}, first_pass[40], order_of_two_passes_differs = 0;
  static uint8_t seen[4][5000];
  (void)state;
  for (uint64_t n = 0; n < 30000; n++) {
    const sb_data_place at = sb_data_order_at(&order, n);
    assert_true(at.source < 4 && at.window < sources[at.source].windows);
    const uint64_t k = counts[at.source]++;
    assert_true(at.pass == k / sources[at.source].windows);
    if (k % sources[at.source].windows == 0) memset(seen[at.source], 0, sizeof seen[0]);
    assert_true(!seen[at.source][at.window]);
    seen[at.source][at.window] = 1;
    if (at.source == 0 && k < 40) first_pass[k] = at.window;
    if (at.source == 0 && k >= 40 && k < 80)
      order_of_two_passes_differs += first_pass[k - 40] != at.window;
    for (size_t s = 0; s < 4; s++) {
      const double due = (double)(n + 1) * (double)sources[s].weight / 1010.0;
      assert_true(fabs((double)counts[s] - due) < 4);
    }
  }
  assert_true(order_of_two_passes_differs > 20);
}

/* Weights that are the numbers of windows: a pass through all sources takes each window once. */
static void test_one_pass_through_all(void **state) {
  static const sb_data_source sources[] = {{300, 300}, {1, 1}, {77, 77}};
  const sb_data_order order = {5, 3, sources};
  (void)state;
  for (uint64_t n = 0; n < 2 * 378; n++)
    assert_int_equal(sb_data_order_at(&order, n).pass, n / 378);
}

/* A step far into a run costs what the first one costs, and numbers do not overflow. */
static void test_far(void **state) {
  static const sb_data_source sources[] = {{UINT64_C(1) << 60, UINT64_C(1) << 62},
                                           {UINT64_C(1) << 59, (UINT64_C(1) << 61) - 1}};
  const sb_data_order order = {1, 2, sources};
  (void)state;
  uint64_t first = 0;
  for (uint64_t n = UINT64_C(1) << 60; n < (UINT64_C(1) << 60) + 3000; n++) {
    const sb_data_place at = sb_data_order_at(&order, n);
    assert_true(at.window < sources[at.source].windows && at.pass == 0);
    first += at.source == 0;
  }
  assert_in_range(first, 1999, 2001);
}

/* "The same on every machine": what tests/train/data_order.py gives, a program of its own. */
static void test_known(void **state) {
  static const sb_data_source sources[] = {{3, 1000}, {2, 17}, {5, 123456}};
  static const struct {
    uint64_t n, source, pass, window;
  } expected[] = {
#include "tests/train/data_order.inc"
  };
  const sb_data_order order = {42, 3, sources};
  (void)state;
  for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
    const sb_data_place at = sb_data_order_at(&order, expected[i].n);
    assert_int_equal(at.source, expected[i].source);
    assert_int_equal(at.pass, expected[i].pass);
    assert_int_equal(at.window, expected[i].window);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_permutation), cmocka_unit_test(test_keys_permute_evenly),
      cmocka_unit_test(test_sources),     cmocka_unit_test(test_one_pass_through_all),
      cmocka_unit_test(test_far),         cmocka_unit_test(test_known),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
