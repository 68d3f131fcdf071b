/* Scores of values that stand out, against mean and deviation computed beside; which steps they let
 * a trainer skip is in test_trainer_skip.c. */
#include "train/skip.h"

#include <math.h>

#include "tests/support/assertions.h"
#include "tests/support/random.h"

static double noise(uint64_t i) {
  return (double)(mix(i + 17) >> 11) * 0x1p-53;
}

static void test_scores(void **state) {
  (void)state;
  sb_skip_window w = {0};
  double values[400];
  for (size_t i = 0; i < 400; i++) {
    values[i] = 3 + noise(i) + (i == 300 ? 50 : 0);
    const double score = sb_skip_score(&w, values[i]);
    if (i < SB_SKIP_WINDOW) {
      assert_true(isnan(score));
    } else {
      long double mean = 0, square = 0;
      for (size_t k = i - SB_SKIP_WINDOW; k < i; k++) mean += values[k];
      mean /= SB_SKIP_WINDOW;
      for (size_t k = i - SB_SKIP_WINDOW; k < i; k++)
        square += (values[k] - mean) * (values[k] - mean);
      const double expected = (double)((values[i] - mean) / sqrtl(square / SB_SKIP_WINDOW));
      assert_true(fabs(score - expected) < 1e-9 * (1 + fabs(expected)));
      assert_true((score > 20) == (i == 300));
    }
    sb_skip_enter(&w, values[i]);
  }
}

static void test_no_spread(void **state) {
  (void)state;
  sb_skip_window w = {0};
  for (size_t i = 0; i < SB_SKIP_WINDOW; i++) sb_skip_enter(&w, 2.5);
  assert_true(sb_skip_score(&w, 2.5) == 0);
  assert_true(sb_skip_score(&w, 2.6) == INFINITY);
  assert_true(isnan(sb_skip_score(&w, NAN)));
  assert_true(isnan(sb_skip_score(&w, INFINITY)));
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_scores),
                                     cmocka_unit_test(test_no_spread)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
