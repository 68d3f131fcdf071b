/* Rank correlations, and random policies. */
#include "tests/support/assertions.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "policy/correlation.h"
#include "policy/drawn.h"

static double correlation(const double *a, const double *b, size_t count) {
  double out;
  assert_ok(sb_rank_correlation(a, b, count, &out));
  return out;
}

/* Values: numpy.corrcoef of mean ranks. */
static void equals_numpy(void **state) {
  (void)state;
  const double a[] = {1, 5, 2, 8, 3, 9, 4}, b[] = {2, 4, 1, 9, 9, 7, 3};
  assert_true(fabs(correlation(a, b, 7) - 0.6306562238868914) < 1e-12);
  const double ties_a[] = {1, 1, 2, 2, 3}, ties_b[] = {5, 4, 4, 2, 1};
  assert_true(fabs(correlation(ties_a, ties_b, 5) - -0.8651809126974002) < 1e-12);
}

static void extremes(void **state) {
  (void)state;
  const double a[] = {-3, 0.5, 1e9, 2e9}, up[] = {1, 2, 3, 4}, down[] = {4, 3, 2, 1};
  const double flat[] = {7, 7, 7, 7};
  assert_true(fabs(correlation(a, up, 4) - 1) < 1e-15);
  assert_true(fabs(correlation(a, down, 4) + 1) < 1e-15);
  assert_true(isnan(correlation(a, flat, 4)));
  assert_true(isnan(correlation(a, up, 1)));
  assert_true(isnan(correlation(a, up, 0)));
}

/* ---- random policies ---- */

enum { LAYERS = 6, KINDS = 4, COUNT = LAYERS * KINDS };

static void fill(sb_linear *linears, sb_profile *profile) {
  static const char *const kinds[] = {"q_proj", "o_proj", "up_proj", "down_proj"};
  for (size_t i = 0; i < COUNT; i++) {
    snprintf(linears[i].name, sizeof linears[i].name, "model.layers.%zu.%s", i / KINDS,
             kinds[i % KINDS]);
    linears[i].layer = i / KINDS;
    linears[i].rows = 64 * (1 + i % KINDS);
    linears[i].cols = 64;
  }
  *profile = (sb_profile){.model = {.count = COUNT, .linears = linears, .layers = LAYERS},
                          .precision_count = 2,
                          .precisions = {SB_PRECISION_NVFP4, SB_PRECISION_FP8_128}};
}

/* Of the FLOPs, what is low; and whether whole layers or kinds are mostly low or not. */
static double share_of(const sb_precision_map *map, const sb_profile *profile, size_t *mixed) {
  double low = 0, all = 0;
  size_t layer_low[LAYERS] = {0}, kind_low[KINDS] = {0};
  for (size_t i = 0; i < COUNT; i++) {
    const double work = (double)sb_linear_work(&profile->model.linears[i]);
    const sb_precision p = map->gemms[i][SB_FPROP];
    assert_true(p == SB_PRECISION_NVFP4 || p == SB_PRECISION_FP8_128);
    for (int g = 0; g < SB_GEMM_KINDS; g++) assert_int_equal(map->gemms[i][g], p);
    all += work;
    low += p == SB_PRECISION_NVFP4 ? work : 0;
    layer_low[i / KINDS] += p == SB_PRECISION_NVFP4;
    kind_low[i % KINDS] += p == SB_PRECISION_NVFP4;
  }
  mixed[0] = mixed[1] = 0;
  for (size_t l = 0; l < LAYERS; l++) mixed[0] += layer_low[l] > 0 && layer_low[l] < KINDS;
  for (size_t k = 0; k < KINDS; k++) mixed[1] += kind_low[k] > 0 && kind_low[k] < LAYERS;
  return low / all;
}

static void policies_have_their_share(void **state) {
  sb_linear linears[COUNT] = {0};
  sb_precision gemms[COUNT][SB_GEMM_KINDS], before[COUNT][SB_GEMM_KINDS];
  sb_precision_map map = {.count = COUNT, .gemms = gemms};
  sb_profile profile;
  size_t mixed[2];
  (void)state;
  fill(linears, &profile);
  for (size_t number = 0; number < 30; number++) {
    assert_ok(sb_drawn_policy(&profile, 0.75, 4, number, &map));
    const double share = share_of(&map, &profile, mixed);
    assert_true(share <= 0.75 && share > 0.6);
    if (number % 3 == 1) assert_true(mixed[0] <= 2); /* whole layers, and what fits of the next */
    if (number % 3 == 2) assert_true(mixed[1] <= 2);
    if (number > 0) assert_memory_not_equal(gemms, before, sizeof gemms);
    memcpy(before, gemms, sizeof gemms);
  }
  assert_ok(sb_drawn_policy(&profile, 0.75, 4, 29, &map));
  assert_memory_equal(gemms, before, sizeof gemms);
  profile.precision_count = 1;
  assert_ok(sb_drawn_policy(&profile, 0, 4, 0, &map));
  for (size_t i = 0; i < COUNT; i++) assert_int_equal(gemms[i][0], SB_PRECISION_HIGH);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(equals_numpy), cmocka_unit_test(extremes),
                                     cmocka_unit_test(policies_have_their_share)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
