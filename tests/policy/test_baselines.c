/* Policies by rule, and what a policy amounts to. */
#include <math.h>

#include "policy/baselines.h"
#include "policy/outcome.h"
#include "random_profile.h"

/* Two precisions of 4 bits: the first one is "low". */
static const sb_precision candidates[] = {SB_PRECISION_NVFP4, SB_PRECISION_FP8_128,
                                          SB_PRECISION_FP4_128};
enum { LAYERS = 10, COUNT = 7 * LAYERS };

/* A layer has 4 + 6 units of 64 x 64: q, k, v, o one each; gate, up, down two. */
static sb_profile profile;
static sb_choose_options options;
static sb_precision forced[COUNT];

static int begin(void **state) {
  (void)state;
  profile = random_profile((llama_sizes){LAYERS, 64, 64, 128}, candidates, 3, false, 9);
  for (size_t i = 0; i < COUNT; i++) forced[i] = SB_PRECISION_FREE;
  options = (sb_choose_options){.scoring = {SB_SCORES_EXACT, SB_COMBINE_SUM, 1},
                                .candidate_count = 3,
                                .target = 0.5,
                                .forced = forced};
  memcpy(options.candidates, candidates, sizeof candidates);
  return 0;
}

static int end(void **state) {
  (void)state;
  sb_profile_free(&profile);
  return 0;
}

static sb_policy choose(sb_baseline baseline, uint64_t seed) {
  sb_policy policy;
  assert_ok(sb_baseline_choose("P.json", &profile, baseline, &options, seed, &policy));
  return policy;
}

/* Linears whose three GEMMs are all low, as a string of 0 and 1 per linear of a layer. */
static const char *layer_of(const sb_policy *policy, size_t layer) {
  static char text[8];
  for (size_t i = 0; i < 7; i++) {
    const sb_policy_choice *c = &policy->choices[7 * layer + i];
    assert_true(sb_policy_choice_is_uniform(c));
    text[i] = c->gemm[0] == SB_PRECISION_NVFP4 ? '1' : '0';
    assert_true(c->gemm[0] == (text[i] == '1' ? SB_PRECISION_NVFP4 : SB_PRECISION_FP8_128));
  }
  return text;
}

static void test_uniform(void **state) {
  (void)state;
  sb_policy a = choose(SB_BASELINE_UNIFORM_FP8, 0), b = choose(SB_BASELINE_UNIFORM_FP4, 0),
            c = choose(SB_BASELINE_FP8_FORWARD, 0);
  for (size_t layer = 0; layer < LAYERS; layer++) {
    assert_string_equal(layer_of(&a, layer), "0000000");
    assert_string_equal(layer_of(&b, layer), "1111111");
  }
  for (size_t i = 0; i < COUNT; i++) {
    assert_int_equal(c.choices[i].gemm[SB_FPROP], SB_PRECISION_FP8_128);
    assert_int_equal(c.choices[i].gemm[SB_DGRAD], SB_PRECISION_NVFP4);
    assert_int_equal(c.choices[i].gemm[SB_WGRAD], SB_PRECISION_NVFP4);
  }
  assert_true(fabs(sb_policy_share(&c, 4) - 2.0 / 3) < 1e-12);
  sb_policy_free(&a);
  sb_policy_free(&b);
  sb_policy_free(&c);
  options.candidate_count = 1;
  assert_fails(sb_baseline_choose("P.json", &profile, SB_BASELINE_UNIFORM_FP8, &options, 0, &a),
               SB_ERR_RANGE, "needs a precision of 8 bits");
}

static void test_by_rule(void **state) {
  (void)state;
  /* 50 of 100 units: gate 20, up 20, down 10 */
  sb_policy type = choose(SB_BASELINE_BY_TYPE, 0), position = choose(SB_BASELINE_BY_POSITION, 0);
  assert_string_equal(layer_of(&type, 4), "0000111");
  assert_string_equal(layer_of(&type, 5), "0000110");
  assert_string_equal(layer_of(&position, 4), "1111111");
  assert_string_equal(layer_of(&position, 5), "0000000");
  assert_true(sb_policy_share(&type, 4) == 0.5 && sb_policy_share(&position, 4) == 0.5);
  sb_policy mlp = choose(SB_BASELINE_ALL_MLP, 0), last = choose(SB_BASELINE_LAST_HIGH, 0);
  for (size_t layer = 0; layer < LAYERS; layer++) {
    assert_string_equal(layer_of(&mlp, layer), "0000111");
    assert_string_equal(layer_of(&last, layer), layer < 8 ? "1111111" : "0000000");
  }
  sb_policy_free(&type);
  sb_policy_free(&position);
  sb_policy_free(&mlp);
  sb_policy_free(&last);
}

/* Any seed meets the target with at most one linear more than it needs, and seeds differ. */
static void test_random(void **state) {
  size_t equal = 0;
  (void)state;
  sb_policy first = choose(SB_BASELINE_RANDOM, 1);
  for (uint64_t seed = 1; seed < 30; seed++) {
    sb_policy policy = choose(SB_BASELINE_RANDOM, seed);
    const double share = sb_policy_share(&policy, 4);
    assert_true(share >= 0.5 && share <= 0.5 + 0.02);
    equal += memcmp(policy.choices, first.choices, COUNT * sizeof *first.choices) == 0;
    sb_policy_free(&policy);
  }
  assert_int_equal(equal, 1);
  sb_policy_free(&first);
}

static void test_forces_and_ties(void **state) {
  (void)state;
  const sb_forced_options keep = {"*.layers.1.self_attn.k_proj=fp8-128", 1, 0};
  assert_ok(sb_forced_set(&profile.model, &keep, forced));
  options.tie = SB_TIE_QKV;
  options.target = 0.85;
  for (sb_baseline b = SB_BASELINE_UNIFORM_FP8; b < SB_BASELINE_KINDS; b++) {
    sb_policy policy = choose(b, 5);
    for (size_t i = 0; i < 7; i++)
      assert_int_equal(policy.choices[i].gemm[SB_WGRAD], SB_PRECISION_HIGH);
    for (size_t i = 7; i < 10; i++)
      assert_int_equal(policy.choices[i].gemm[SB_FPROP], SB_PRECISION_FP8_128);
    sb_policy_free(&policy);
  }
  options.target = 0.9; /* 10 units of layer 0 and 3 of layer 1 are forced */
  assert_fails(
      sb_baseline_choose("P.json", &profile, SB_BASELINE_BY_TYPE, &options, 0, &(sb_policy){0}),
      SB_ERR_RANGE, "0.9 in FP4 is out of reach of by-type: at most 0.87");
}

/* The rules by error are the solver with other scores: no policy of the share has less error. */
static void test_least_errors(void **state) {
  (void)state;
  for (int absolute = 0; absolute < 2; absolute++) {
    sb_policy best = choose(absolute ? SB_BASELINE_LEAST_ABSOLUTE : SB_BASELINE_LEAST_RELATIVE, 0);
    sb_scoring scoring = {absolute ? SB_SCORES_ABSOLUTE : SB_SCORES_RELATIVE, SB_COMBINE_SUM, 1};
    double least, other;
    sb_scoring_predict(&profile, &scoring, &best, &least);
    assert_true(sb_policy_share(&best, 4) >= 0.5);
    for (uint64_t seed = 0; seed < 20; seed++) {
      sb_policy policy = choose(SB_BASELINE_RANDOM, seed);
      sb_scoring_predict(&profile, &scoring, &policy, &other);
      assert_true(least < other);
      sb_policy_free(&policy);
    }
    sb_policy_free(&best);
  }
}

/* ---- outcomes ---- */

static void test_outcome(void **state) {
  sb_policy policy = choose(SB_BASELINE_ALL_MLP, 0);
  sb_rates rates;
  sb_stages stages;
  (void)state;
  assert_ok(sb_rates_read("theory", &rates));
  assert_ok(sb_stages_parse("6,4", LAYERS, &stages));
  const double slowest = sb_outcome_slowest(&policy, &rates, &stages);
  sb_outcome o = sb_outcome_of(&policy, &rates, 6, 10, slowest);
  assert_true(fabs(o.fp4 - 0.6) < 1e-12 && fabs(o.fp8 - 0.4) < 1e-12);
  /* times: 6 units at 4x and 4 at 2x of 10 in bf16 */
  assert_true(fabs(o.speedup - 10 / 3.5) < 1e-9);
  assert_true(fabs(o.time - 4.0 / 6 * 0.35) < 1e-9);
  assert_true(fabs(sb_outcome_speedup(&policy, &rates, &stages) - 10 / 3.5) < 1e-9);
  rates.rate[SB_PRECISION_NVFP4] = 0;
  o = sb_outcome_of(&policy, &rates, 6, 10, slowest);
  assert_true(o.speedup == 0 && fabs(o.fp4 - 0.6) < 1e-12);
  assert_true(sb_outcome_speedup(&policy, &rates, &stages) == 0);
  sb_stages_free(&stages);
  sb_rates_free(&rates);
  sb_policy_free(&policy);
}

int main(void) {
#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)
  const struct CMUnitTest tests[] = {TEST(test_uniform),      TEST(test_by_rule),
                                     TEST(test_random),       TEST(test_forces_and_ties),
                                     TEST(test_least_errors), TEST(test_outcome)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
