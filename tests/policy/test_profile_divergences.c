/* From sums to divergences: a model of one matrix, with numbers that are followed by hand. */
#include "tests/support/assertions.h"

#include <math.h>

#include "policy/divergence.h"

enum { SEQUENCES = 2, T = 9 };

static sb_model_tensor tensor = {.rows = 4, .cols = 3, .is_linear = true};
static size_t matrices[] = {0};
static sb_arch arch = {.matrix_count = 1, .matrices = matrices, .tensors = &tensor, .count = 1};

static const sb_linear_sums linears[SEQUENCES] = {{.x = 27,
                                                   .w = 12,
                                                   .y = 36,
                                                   .dy = 8,
                                                   .dx = 54,
                                                   .dw = 24,
                                                   .moved_x = 5.4,
                                                   .moved_dy = 7.2,
                                                   .sloped = 40},
                                                  {.x = 27,
                                                   .w = 12,
                                                   .y = 64,
                                                   .dy = 2,
                                                   .dx = 54,
                                                   .dw = 24,
                                                   .moved_x = 2.7,
                                                   .moved_dy = 3.6,
                                                   .sloped = 10}};
static const sb_error_sums errors[SEQUENCES] = {{.x = 2.7,
                                                 .w = 1.2,
                                                 .dy = 0.8,
                                                 .y = 0.5,
                                                 .dx = 0.25,
                                                 .loss = 0.3,
                                                 .tokens = 0.04,
                                                 .fprop = 0.0016,
                                                 .dgrad = 0.0004,
                                                 .wgrad = 0.09},
                                                {.x = 5.4,
                                                 .w = 1.2,
                                                 .dy = 0.2,
                                                 .y = 1,
                                                 .dx = 0.5,
                                                 .loss = -0.1,
                                                 .tokens = 0.02,
                                                 .fprop = 0.0020,
                                                 .dgrad = 0.0005,
                                                 .wgrad = 0.07}};

static void near(double got, double want) {
  assert_true(fabs(got - want) <= 1e-12 * fabs(want));
}

static void by_hand(void **state) {
  const sb_update_slope slope = {.update_norm = 5};
  const sb_divergence_setup setup = {.arch = &arch,
                                     .slope = &slope,
                                     .step = 0.1,
                                     .sequences = SEQUENCES,
                                     .T = T,
                                     .linears = linears,
                                     .errors = errors};
  sb_profile_norms norms;
  sb_profile_entry entry = {0};
  sb_profile profile = {.loss = 2,
                        .precision_count = 1,
                        .precisions = {SB_PRECISION_NVFP4},
                        .norms = &norms,
                        .entries = &entry};
  (void)state;
  sb_divergences(&setup, &profile);
  assert_true(profile.has_metric[SB_METRIC_EXACT] && profile.has_metric[SB_METRIC_NORMS]);
  assert_int_equal(profile.combine, SB_COMBINE_SQUARES);
  near(norms.y, sqrt(50));
  near(norms.dy, sqrt(5));
  near(entry.abs_error, sqrt(4.05 + 1.2 + 0.5));
  near(entry.rel_error, sqrt(4.05 / 27 + 1.2 / 12 + 0.5 / 5));
  /* (T - 1) / 2 x mean of a^2 = 4 x (0.09 + 0.01) / 2 = 0.2, over a loss of 2 */
  const sb_divergence *exact = entry.parts[SB_METRIC_EXACT];
  near(exact[SB_FPROP].loss, sqrt(0.1));
  near(exact[SB_PART_ALL].loss, sqrt(0.1));
  assert_true(exact[SB_DGRAD].loss == 0 && exact[SB_WGRAD].loss == 0);
  /* sums over sequences, by step^2 = 0.01 but for wgrad; over S u = 10 */
  near(exact[SB_FPROP].weight, sqrt(0.36) / 10);
  near(exact[SB_DGRAD].weight, sqrt(0.09) / 10);
  near(exact[SB_WGRAD].weight, sqrt(0.16) / 10);
  near(exact[SB_PART_ALL].weight, sqrt(0.61) / 10);
  /* a^2: 54 x 2.7 / 27 + 24 x 1.2 / 12 = 7.8; 54 x 5.4 / 27 + 2.4 = 13.2 */
  const sb_divergence *known = entry.parts[SB_METRIC_NORMS];
  near(known[SB_FPROP].loss, sqrt(4 * 10.5 / 2));
  near(known[SB_FPROP].weight, sqrt((0.5 * 7.2 + 1 * 3.6) / 36 / 0.01) / 10);
  near(known[SB_DGRAD].weight, sqrt((0.25 * 5.4 + 0.5 * 2.7) / 27 / 0.01) / 10);
  near(known[SB_WGRAD].weight, sqrt(40 * (0.1 + 0.1) + 10 * (0.1 + 0.2)) / 10);
  near(sb_expected_change(&setup, 1, 0, 0), 0.1 + 4 * 0.03);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(by_hand)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
