/* Axes hold their values, between ticks that rise and are round numbers. */
#include "report/axis.h"

#include <math.h>
#include <stdint.h>

#include "tests/support/assertions.h"
#include "tests/support/random.h"

static void check_ticks(const sb_axis *a) {
  assert_true(a->count >= 2 && a->count <= SB_AXIS_TICKS);
  for (size_t i = 0; i < a->count; i++) {
    const double t = fabs(a->ticks[i]);
    const double power = t > 0 ? pow(10, floor(log10(t) + 1e-9)) : 1;
    if (i > 0) assert_true(a->ticks[i] > a->ticks[i - 1]);
    if (!a->log || t == 0) continue;
    const double digit = t / power;
    assert_true(fabs(digit - 1) < 1e-6 || fabs(digit - 2) < 1e-6 || fabs(digit - 5) < 1e-6);
  }
  if (!a->log) { /* equal steps of 1, 2 or 5 times a power of ten, 0 among their multiples */
    const double step = a->ticks[1] - a->ticks[0];
    const double digit = step / pow(10, floor(log10(step) + 1e-9));
    assert_true(fabs(digit - 1) < 1e-6 || fabs(digit - 2) < 1e-6 || fabs(digit - 5) < 1e-6);
    for (size_t i = 0; i < a->count; i++)
      assert_true(fabs(a->ticks[i] / step - round(a->ticks[i] / step)) < 1e-6);
  }
}

static void check_axis(const double *values, size_t count, bool log) {
  assert_false(sb_axis_make((double[]){43, 52}, 2, true, 6).log);
  assert_true(sb_axis_make((double[]){43, 252}, 2, true, 6).log);
  const sb_axis a = sb_axis_make(values, count, log, 6);
  check_ticks(&a);
  assert_true(a.low < a.high);
  assert_true(fabs(sb_axis_place(&a, a.low)) < 1e-9 && fabs(sb_axis_place(&a, a.high) - 1) < 1e-9);
  for (size_t i = 0; i < count; i++) {
    if (!isfinite(values[i])) continue;
    const double place = sb_axis_place(&a, values[i]);
    assert_true(place >= -1e-9 && place <= 1 + 1e-9);
  }
  for (size_t i = 0; i < a.count; i++) {
    const double place = sb_axis_place(&a, a.ticks[i]);
    assert_true(place >= -1e-6 && place <= 1 + 1e-6);
  }
}

static void random_values(void **state) {
  (void)state;
  uint64_t seed = 11;
  for (int round = 0; round < 4000; round++) {
    double values[9];
    const double scale = pow(10, (double)draw(&seed, 25) - 12),
                 spread = pow(10, (double)draw(&seed, 9));
    const size_t count = 1 + draw(&seed, 9);
    for (size_t i = 0; i < count; i++)
      values[i] = scale * pow(spread, (double)draw(&seed, 1001) / 1000);
    check_axis(values, count, true);
    for (size_t i = 0; i < count; i++)
      if (draw(&seed, 2)) values[i] = -values[i];
    check_axis(values, count, false);
  }
}

static void odd_values(void **state) {
  (void)state;
  check_axis((double[]){0}, 1, true);
  check_axis((double[]){3.5, 3.5}, 2, false);
  check_axis((double[]){NAN, 2, INFINITY}, 3, true);
  check_axis((double[]){NAN}, 1, false);
  check_axis(NULL, 0, true);
  assert_false(sb_axis_make((double[]){0, 1}, 2, true, 6).log);
  const sb_axis a = sb_axis_make((double[]){0.0025, 0.29}, 2, true, 6);
  assert_true(a.low == 0.001 && fabs(a.high - 1) < 1e-9);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(random_values), cmocka_unit_test(odd_values)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
