/* Learning rates: values worked out by hand, ends and joints of the curves, and what is refused. */
#include "train/schedule.h"

#include <math.h>

#include "tests/support/assertions.h"

static sb_schedule make(sb_schedule_curve curve) {
  return (sb_schedule){
      .curve = curve, .peak = 2.0, .floor = 0.1, .steps = 110, .warmup = 10, .decay = 20};
}

static void close_to(double value, double expected) {
  assert_true(fabs(value - expected) < 1e-12);
}

/* Warm-up is the same for all curves, and its last step has the peak. */
static void test_warm_up(void **state) {
  (void)state;
  for (sb_schedule_curve c = 0; c < SB_SCHEDULE_CURVES; c++) {
    const sb_schedule s = make(c);
    close_to(sb_schedule_rate(&s, 0), 0.2);
    close_to(sb_schedule_rate(&s, 4), 1.0);
    close_to(sb_schedule_rate(&s, 9), 2.0);
    close_to(sb_schedule_rate(&s, 10), 2.0);
  }
  sb_schedule s = make(SB_SCHEDULE_COSINE);
  s.warmup = 0;
  close_to(sb_schedule_rate(&s, 0), 2.0);
}

/* Floor 0.2 and peak 2: a share f of the fall leaves 0.2 + 1.8 f. */
static void test_curves(void **state) {
  (void)state;
  sb_schedule s = make(SB_SCHEDULE_COSINE);
  close_to(sb_schedule_rate(&s, 60), 0.2 + 1.8 * 0.5);
  close_to(sb_schedule_rate(&s, 35), 0.2 + 1.8 * (0.5 + 0.5 * sqrt(0.5))); /* a quarter */
  s = make(SB_SCHEDULE_LINEAR);
  close_to(sb_schedule_rate(&s, 60), 0.2 + 1.8 * 0.5);
  close_to(sb_schedule_rate(&s, 35), 0.2 + 1.8 * 0.75);
  s = make(SB_SCHEDULE_CONSTANT);
  close_to(sb_schedule_rate(&s, 109), 2.0);
  s = make(SB_SCHEDULE_WSD);
  close_to(sb_schedule_rate(&s, 89), 2.0);
  close_to(sb_schedule_rate(&s, 90), 2.0);
  close_to(sb_schedule_rate(&s, 95), 0.2 + 1.8 * 0.5); /* a quarter, its square root 1/2 */
}

/* After the warm-up no rate is above the one before, and the end is the floor. */
static void test_falls(void **state) {
  (void)state;
  for (sb_schedule_curve c = 0; c < SB_SCHEDULE_CURVES; c++) {
    const sb_schedule s = make(c);
    for (size_t t = 10; t < 120; t++)
      assert_true(sb_schedule_rate(&s, t + 1) <= sb_schedule_rate(&s, t));
    const double end = c == SB_SCHEDULE_CONSTANT ? 2.0 : 0.2;
    close_to(sb_schedule_rate(&s, 110), end);
    close_to(sb_schedule_rate(&s, 1000), end);
  }
}

static void refused(sb_schedule s, const char *word) {
  assert_int_equal(sb_schedule_check(&s), SB_ERR_USAGE);
  assert_says(word);
}

static void test_refused(void **state) {
  (void)state;
  sb_schedule s = make(SB_SCHEDULE_WSD);
  assert_ok(sb_schedule_check(&s));
  s.decay = 100;
  assert_ok(sb_schedule_check(&s));
  s.decay = 101;
  refused(s, "warm-up of 10 steps and a decay of 101");
  s = make(SB_SCHEDULE_COSINE);
  s.decay = 1000; /* of another curve */
  assert_ok(sb_schedule_check(&s));
  s.warmup = 111;
  refused(s, "warm-up of 111 steps");
  s = make(SB_SCHEDULE_LINEAR);
  s.peak = NAN;
  refused(s, "learning rate");
  s.peak = 0;
  refused(s, "learning rate");
  s.peak = 1;
  s.floor = 1.5;
  refused(s, "share of the peak");
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_warm_up), cmocka_unit_test(test_curves),
                                     cmocka_unit_test(test_falls), cmocka_unit_test(test_refused)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
