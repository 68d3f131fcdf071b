#include "tests/kernels/check.h"

#include <math.h>
#include <string.h>

#include "kernels/cpu/vec.h"

static float exp_of(float x) {
  sb_vf y = sb_vf_exp(sb_vf_set(x));
  return y[0];
}

/* Distance from the true value in units in the last place of the f32 nearest to it. */
static double ulps(float x) {
  double want = exp((double)x), got = (double)exp_of(x);
  float nearest = (float)want;
  double unit = (double)nextafterf(nearest, INFINITY) - (double)nearest;
  return fabs(got - want) / unit;
}

/* Every normal result, by a walk over [-87.3, 88.7] in steps that hit all binades of x. */
static void exp_is_within_two_ulps(void **state) {
  (void)state;
  double worst = 0.0;
  for (float x = -87.3f; x < 88.7f; x += 0.000371f) worst = fmax(worst, ulps(x));
  for (float x = 1e-30f; x < 80.0f; x *= 1.0007f) worst = fmax(worst, fmax(ulps(x), ulps(-x)));
  print_message("exp: worst error %.3f ulp\n", worst);
  assert_true(worst <= 2.0);
}

static void exp_of_subnormal_results(void **state) {
  (void)state;
  for (float x = -103.9f; x < -87.3f; x += 0.0071f) assert_true(ulps(x) <= 2.0);
}

static void exp_at_the_ends(void **state) {
  (void)state;
  assert_true(exp_of(0.0f) == 1.0f);
  assert_true(exp_of(-INFINITY) == 0.0f);
  assert_true(exp_of(-200.0f) == 0.0f);
  assert_true(exp_of(-104.0f) == 0.0f);
  assert_true(exp_of(INFINITY) == INFINITY);
  assert_true(exp_of(89.0f) == INFINITY);
  assert_true(isfinite(exp_of(88.72f)));
  assert_true(isnan(exp_of(NAN)));
}

static void part_loads_and_stores(void **state) {
  (void)state;
  float x[SB_LANES];
  for (int i = 0; i < SB_LANES; i++) x[i] = (float)(i + 1);
  for (size_t n = 0; n < SB_LANES; n++) {
    float y[SB_LANES], z[SB_LANES] = {0};
    sb_vf_store(y, sb_vf_load_part(x, n, -1.0f));
    sb_vf_store_part(z, sb_vf_load(x), n);
    for (size_t i = 0; i < SB_LANES; i++) {
      assert_true(y[i] == (i < n ? x[i] : -1.0f));
      assert_true(z[i] == (i < n ? x[i] : 0.0f));
    }
  }
  assert_true(sb_vf_sum(sb_vf_load(x)) == (float)(SB_LANES * (SB_LANES + 1) / 2));
  assert_true(sb_vf_highest(sb_vf_load(x)) == (float)SB_LANES);
}

static void select_max_min(void **state) {
  (void)state;
  sb_vf one = sb_vf_set(1.0f), two = sb_vf_set(2.0f), nan = sb_vf_set(NAN);
  assert_true(sb_vf_max(one, two)[3] == 2.0f && sb_vf_min(one, two)[3] == 1.0f);
  assert_true(isnan(sb_vf_max(one, nan)[0]) && sb_vf_max(nan, one)[0] == 1.0f);
  assert_true(isnan(sb_vf_min(one, nan)[0]) && sb_vf_min(nan, one)[0] == 1.0f);
  assert_true(sb_vf_select(one < two, one, two)[5] == 1.0f &&
              sb_vf_select(one > two, one, two)[5] == 2.0f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(exp_is_within_two_ulps), cmocka_unit_test(exp_of_subnormal_results),
      cmocka_unit_test(exp_at_the_ends),        cmocka_unit_test(part_loads_and_stores),
      cmocka_unit_test(select_max_min),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
