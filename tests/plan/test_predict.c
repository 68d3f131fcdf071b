/* The arithmetic of predicted times, by hand. */
#include "plan/predict.h"

#include <math.h>

#include "tests/plan/arch_fixture.h"

/* A search of so many strides and trades. */
static sb_plan_setup setup(size_t strides, size_t trades) {
  return (sb_plan_setup){.arch = &arch,
                         .source = SB_BF16,
                         .ranks = 8,
                         .ranks_per_node = 4,
                         .threads = 8,
                         .blocking = {128, 128, SB_GRID_ASYMMETRIC},
                         .bits = 3.0,
                         .seqlen = 2048,
                         .input_bytes = (size_t)1 << 40,
                         .search = {.seqs = 32,
                                    .estimator = SB_ESTIMATOR_FISHER,
                                    .widths = 7,
                                    .strides = strides,
                                    .trades = trades},
                         .round = {.seqs = 64}};
}

static void near(double a, double b) {
  assert_true(fabs(a - b) <= 1e-9 * fabs(b));
}

/* What has no rate takes no time; a search has strides + trades gradient passes and a loss pass
 * more than trades. */
static void arithmetic_alone(void **state) {
  (void)state;
  const sb_plan_setup s = setup(2, 8);
  const sb_rates r = {.forward = 1e12, .backward = 5e11};
  sb_footprint f;
  sb_prediction p;
  sb_footprint_estimate(&s, &f);
  sb_predict(&s, &f, &r, &p);
  const double loss = f.search.loss_flops / 1e12,
               back = (f.search.gradient_flops - f.search.loss_flops) / 5e11;
  near(p.loss.seconds, loss);
  near(p.gradient.seconds, loss + back);
  assert_true(p.gradient_passes == 10 && p.loss_passes == 9);
  near(p.seconds[SB_PART_GRADIENT],
       2 * (loss + back) + 8 * back); /* trades begin with the loss pass before them */
  near(p.seconds[SB_PART_LOSS], 9 * loss);
  near(p.total, 2 * (loss + back) + 8 * back + 9 * loss);
}

/* A gradient pass for the costs of widths, which learns from the source weights too. */
static void divergence(void **state) {
  (void)state;
  sb_plan_setup s = setup(0, 8);
  const sb_rates r = {.forward = 1e12, .backward = 5e11};
  sb_footprint f;
  sb_prediction p;
  s.search.estimator = SB_ESTIMATOR_DIVERGENCE;
  sb_footprint_estimate(&s, &f);
  sb_predict(&s, &f, &r, &p);
  const double loss = f.search.loss_flops / 1e12,
               back = (f.search.gradient_flops - f.search.loss_flops) / 5e11;
  assert_true(p.gradient_passes == 9 && p.loss_passes == 9);
  near(p.total, loss + 9 * back + 9 * loss);
}

static void several_waves_repeat_the_forward_half(void **state) {
  (void)state;
  sb_plan_setup s = setup(1, 3);
  const sb_rates r = {.forward = 1e12, .backward = 1e12};
  sb_footprint f;
  sb_prediction p;
  s.input_bytes = 1;
  sb_footprint_estimate(&s, &f);
  sb_predict(&s, &f, &r, &p);
  near(p.seconds[SB_PART_GRADIENT], 4 * f.search.gradient_flops / 1e12);
}

/* The loss that decides is that of other sequences: nothing of it can be used again. */
static void check_sequences(void **state) {
  (void)state;
  sb_plan_setup s = setup(1, 3);
  const sb_rates r = {.forward = 1e12, .backward = 1e12, .quantize = 1e9};
  sb_footprint f;
  sb_prediction p;
  s.search.check_seqs = 8;
  s.fitted = true;
  sb_footprint_estimate(&s, &f);
  sb_predict(&s, &f, &r, &p);
  const double weights = (double)arch.linear_parameters / 1e9;
  near(p.loss.seconds, f.search.check_flops / 1e12 + weights);
  near(p.gradient.seconds, f.search.gradient_flops / 1e12 + 2 * weights);
  near(p.seconds[SB_PART_GRADIENT], 4 * p.gradient.seconds);
  near(p.seconds[SB_PART_IMPORTANCE], f.search.loss_flops / 1e12);
}

/* Messages overlap with arithmetic; 4 ranks share a node's network. */
static void messages(void **state) {
  (void)state;
  const sb_plan_setup s = setup(1, 0);
  sb_rates r = {.forward = 1e12, .backward = 1e12, .network = 1e9};
  sb_footprint f;
  sb_prediction p;
  sb_footprint_estimate(&s, &f);
  sb_predict(&s, &f, &r, &p);
  near(p.loss.send_seconds, f.search.loss_sent * 4 / 1e9);
  near(p.loss.seconds, fmax(f.search.loss_flops / 1e12, f.search.loss_sent * 4 / 1e9));
  r.network = 1e6;
  sb_predict(&s, &f, &r, &p);
  near(p.loss.seconds, f.search.loss_sent * 4 / 1e6);
}

static void grids_and_scores(void **state) {
  (void)state;
  sb_plan_setup s = setup(1, 0);
  const sb_rates r = {.fit = 1e9, .quantize = 2e9, .score = 4e9};
  const double weights = (double)arch.linear_parameters;
  sb_footprint f;
  sb_prediction p;
  s.reorder = SB_REORDER_FUSED;
  sb_footprint_estimate(&s, &f);
  sb_predict(&s, &f, &r, &p);
  near(p.loss.seconds, weights / 2e9); /* plain grids: nothing to fit */
  near(p.gradient.seconds, weights / 1e9 + 4 * weights / 4e9);
  near(p.seconds[SB_PART_REORDER], p.gradient.seconds);
  s.fitted = true;
  sb_footprint_estimate(&s, &f);
  sb_predict(&s, &f, &r, &p);
  near(p.loss.seconds, weights / 2e9 + weights / 1e9);
  near(p.gradient.seconds,
       weights / 1e9 + 4 * weights / 4e9 + 4 * weights / 1e9); /* also one bit less and more */
}

static void files_and_rounding(void **state) {
  (void)state;
  sb_plan_setup s = setup(1, 0);
  sb_rates r = {.forward = 1e12,
                .moments = 2e12,
                .factor = 3e12,
                .rounding = 4e12,
                .refine = 5e12,
                .unpack = 1e9,
                .pack = 1e8,
                .read = 1e9,
                .write = 5e8};
  sb_footprint f;
  sb_prediction p;
  s.round.gptq = true;
  s.round.times = 1;
  s.fitted = true;
  s.round.refine = 2;
  sb_footprint_estimate(&s, &f);
  sb_predict(&s, &f, &r, &p);
  const double linear = (double)arch.linear_parameters, rest = f.model_bytes - 2 * linear;
  near(p.seconds[SB_PART_READ], f.model_bytes / 8 / 1e9);
  near(p.seconds[SB_PART_WRITE], (linear * 3 / 8 + rest) / 8 / 5e8);
  near(p.seconds[SB_PART_IMPORTANCE], f.search.loss_flops / 1e12);
  near(p.seconds[SB_PART_FORWARD], f.round.flops / 1e12 + linear / 1e9);
  near(p.seconds[SB_PART_MOMENTS], f.round.moment_flops / 2e12);
  near(p.seconds[SB_PART_FACTOR], f.round.factor_flops / 3e12);
  near(p.seconds[SB_PART_ROUNDING], f.round.rounding_flops / 4e12);
  near(p.seconds[SB_PART_REFINE], 6 * f.round.rounding_flops / 5e12);
  s.round.gptq = false; /* rounded to nearest on the way to the file */
  sb_footprint_estimate(&s, &f);
  sb_predict(&s, &f, &r, &p);
  near(p.seconds[SB_PART_WRITE], (linear * 3 / 8 + rest) / 8 / 5e8 + linear / 8 / 1e8);
  assert_true(p.seconds[SB_PART_FORWARD] + p.seconds[SB_PART_MOMENTS] + p.seconds[SB_PART_FACTOR] ==
              0);
  assert_true(p.seconds[SB_PART_TUNE] == 0);
  s.tune.epochs = 1;
  s.tune.seqs = 64; /* layers are decoded forwards and back for each of 4 batches, and forwards
                       before and after */
  s.tune.batch = 16;
  r.backward = 6e12;
  sb_footprint_estimate(&s, &f);
  sb_predict(&s, &f, &r, &p);
  near(p.seconds[SB_PART_TUNE], (f.tune.learn_flops + f.tune.forward_flops) / 1e12 +
                                    (f.tune.step_flops - f.tune.forward_flops) / 6e12 +
                                    10 * linear / 1e9);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(arithmetic_alone),
                                     cmocka_unit_test(divergence),
                                     cmocka_unit_test(several_waves_repeat_the_forward_half),
                                     cmocka_unit_test(check_sequences),
                                     cmocka_unit_test(messages),
                                     cmocka_unit_test(grids_and_scores),
                                     cmocka_unit_test(files_and_rounding)};
  return cmocka_run_group_tests(tests, make_arch, free_arch);
}
