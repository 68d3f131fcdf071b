/* What train makes of a command line: what was left open is chosen, and contradictions are
 * refused. */
#include "cli/train_request.h"

#include "tests/support/assertions.h"

static sb_status settle(const char *line, sb_train_request *r) {
  char copy[256], *argv[40];
  int argc = 0;
  bool help;
  sb_option options[SB_TRAIN_OPTIONS_MAX], common[SB_COMMON_MAX];
  *r = sb_train_defaults();
  const sb_argument arguments[] = {{"MODEL", &r->model, "A folder."}};
  const sb_usage usage = {
      .command = "train",
      .synopsis = "MODEL",
      .arguments = arguments,
      .argument_count = 1,
      .options = options,
      .option_count = sb_train_options(r, options),
      .common = common,
      .common_count = sb_common_options(&r->common, SB_COMMON_FOLDER | SB_COMMON_COMPUTE, common)};
  snprintf(copy, sizeof copy, "train m --tokens t -o out/ %s", line);
  for (char *word = strtok(copy, " "); word; word = strtok(NULL, " ")) argv[argc++] = word;
  argv[argc] = NULL;
  assert_true(usage.option_count < SB_TRAIN_OPTIONS_MAX);
  SB_TRY(sb_options_parse(&usage, argc, argv, &help));
  return sb_train_settle(r);
}

static void test_left_open(void **state) {
  sb_train_request r;
  (void)state;
  assert_ok(settle("--steps 1000", &r));
  assert_int_equal(r.trainer.schedule.steps, 1000);
  assert_int_equal(r.trainer.schedule.warmup, 10);
  assert_int_equal(r.stop_at, 1000);
  assert_int_equal(r.log_every, 50);
  assert_true(r.trainer.schedule.floor == 0.1 && r.trainer.schedule.curve == SB_SCHEDULE_COSINE);
  assert_true(r.common.arithmetic == SB_ARITHMETIC_F32);
  assert_string_equal(r.checkpoints_path, "out.checkpoints");
  const sb_lowprec_options usual = sb_lowprec_options_default();
  assert_memory_equal(&r.lowprec, &usual, sizeof usual);
  sb_train_request_free(&r);
  assert_ok(settle("--steps 7 --warmup 3 --stop-at 5 --checkpoints c --log-every 2", &r));
  assert_int_equal(r.trainer.schedule.warmup, 3);
  assert_int_equal(r.stop_at, 5);
  assert_int_equal(r.log_every, 2);
  assert_string_equal(r.checkpoints_path, "c");
  sb_train_request_free(&r);
  assert_ok(settle("--steps 7", &r));
  assert_true(r.trainer.schedule.warmup == 0 && r.log_every == 1);
  sb_train_request_free(&r);
}

static bool differ(const sb_key *a, const sb_key *b) {
  json_t *object = sb_key_json(b);
  const sb_status status = sb_key_compare(a, object, "f", "a state", "stop");
  json_decref(object);
  return status != SB_OK;
}

static void test_adapt(void **state) {
  sb_train_request r;
  sb_key key = {0}, other = {0};
  (void)state;
  assert_ok(settle("--steps 100", &r));
  assert_false(sb_train_adapts(&r.adapt));
  sb_train_adapt_key(&r.adapt, &other);
  sb_train_request_free(&r);
  assert_ok(settle("--steps 100 --adapt 20 --keep-first 1 --forward-high 0.18", &r));
  const sb_adapt_options o = sb_train_adapt_of(&r.adapt);
  assert_true(sb_train_adapts(&r.adapt) && o.every == 20 && o.share == 0.75 && o.keep_first == 1);
  assert_int_equal(o.precision_count, 2);
  assert_true(o.precisions[0] == SB_PRECISION_FP8_128 && o.precisions[1] == SB_PRECISION_NVFP4);
  assert_int_equal(o.forward_high_from, 82);
  assert_string_equal(r.adapt.folder, "out.policies");
  sb_train_adapt_key(&r.adapt, &key);
  assert_true(differ(&key, &other) && differ(&other, &key) && !differ(&key, &key));
  sb_train_request_free(&r);
  static const char *const others[] = {
      "--adapt 21 --keep-first 1 --forward-high 0.18", "--adapt 20 --forward-high 0.18",
      "--adapt 20 --keep-first 1", "--adapt 20 --keep-first 1 --forward-high 0.18 --adapt-by gemm",
      "--adapt 20 --keep-first 1 --forward-high 0.18 --adapt-noise 2"};
  for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
    char line[256];
    snprintf(line, sizeof line, "--steps 100 %s", others[i]);
    assert_ok(settle(line, &r));
    other = (sb_key){0};
    sb_train_adapt_key(&r.adapt, &other);
    assert_true(differ(&key, &other));
    sb_train_request_free(&r);
  }
  assert_ok(settle("--steps 100 --precision nvfp4 --forward-high 1", &r));
  assert_true(sb_train_adapts(&r.adapt) && sb_train_adapt_of(&r.adapt).forward_high_from == 0);
  sb_train_request_free(&r);
  assert_int_equal(settle("--steps 100 --adapt-spike 3", &r), SB_ERR_USAGE);
  sb_train_request_free(&r);
  assert_int_equal(settle("--steps 100 --forward-high 0.1", &r), SB_ERR_USAGE);
  sb_train_request_free(&r);
  assert_int_equal(settle("--steps 100 --adapt 5 --adapt-precision bf16", &r), SB_ERR_USAGE);
  sb_train_request_free(&r);
}

static void test_precision(void **state) {
  sb_train_request r;
  (void)state;
  for (int p = SB_PRECISION_HIGH; p < SB_PRECISION_COUNT; p++)
    assert_string_equal(sb_train_precision_names[SB_TRAIN_BF16 + p], sb_precision_names[p]);
  assert_null(sb_train_precision_names[SB_TRAIN_BF16 + SB_PRECISION_COUNT]);
  assert_ok(settle("--steps 7 --precision bf16", &r));
  assert_true(r.common.arithmetic == SB_ARITHMETIC_BF16);
  sb_train_request_free(&r);
  assert_ok(settle("--steps 7 --precision nvfp4 --compute bf16 --keep-last 2", &r));
  assert_true(r.common.arithmetic == SB_ARITHMETIC_BF16);
  assert_int_equal(r.precision - SB_TRAIN_BF16, SB_PRECISION_NVFP4);
  sb_train_request_free(&r);
  assert_ok(settle("--steps 7 --precision f32 --policy p --keep-first 1", &r)); /* f32 besides */
  sb_train_request_free(&r);
  assert_ok(settle("--steps 7 --precision mxfp4 --mxfp4-scale even --stochastic off --hadamard off "
                   "--two-scales on --f32-scales on --fp8-dy e5m2",
                   &r));
  assert_true(r.lowprec.mxfp4_scale == SB_SCALE_EVEN && !r.lowprec.stochastic);
  assert_true(!r.lowprec.nvfp4_hadamard && r.lowprec.nvfp4_two_scales);
  assert_true(r.lowprec.fp8_128_f32_scales && r.lowprec.fp8_dy == SB_LOWPREC_DY_E5M2);
  sb_train_request_free(&r);
}

static void refuse(const char *line, const char *text) {
  sb_train_request r;
  assert_fails(settle(line, &r), SB_ERR_USAGE, text);
  sb_train_request_free(&r);
}

static void test_refused(void **state) {
  (void)state;
  refuse("", "steps");
  refuse("--steps 7 --stop-at 8", "--stop-at 8 lies behind --steps 7");
  refuse("--steps 7 --warmup 9", "train: --warmup 9 does not fit into --steps 7");
  refuse("--steps 7 --warmup 2 --schedule wsd --cooldown 6",
         "train: --warmup 2 and --cooldown 6 do not fit into --steps 7");
  refuse("--steps 7 --schedule wsd", "--schedule wsd needs --cooldown");
  refuse("--steps 7 --stop-at 2 --save-every 0", "--stop-at 2 with --save-every 0 saves nothing");
  refuse("--steps 7 --adapt 7", "--adapt 7 chooses nothing in --steps 7");
  refuse("--steps 7 --lr nan", "--lr nan: a number from 1e-12 to 1000 is expected");
  refuse("--steps 7 --batch 4097", "--batch 4097: a whole number from 1 to 4096");
  refuse("--steps 7 --eps 0", "--eps 0: a number above 0");
  refuse("--steps 7 --cooldown 3", "--cooldown is of --schedule wsd, not of cosine");
  refuse("--steps 7 --eval-every 3", "--eval-every needs --eval-tokens");
  refuse("--steps 7 --beta2 1", "--beta2 1: a number from 0 to below 1");
  refuse("--steps 7 --beta1 1", "--beta1 1: ");
  refuse("--steps 7 --policy p --precision nvfp4", "both choose precisions");
  refuse("--steps 7 --precision bf16 --compute f32", "--precision bf16 contradicts --compute f32");
  refuse("--steps 7 --keep-first 2", "--keep-first keeps layers out of low precision");
  refuse("--steps 7 --precision bf16 --keep-last 2", "--keep-last keeps");
  refuse("--steps 7 --precision fp4", "precision");
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_left_open), cmocka_unit_test(test_adapt),
                                     cmocka_unit_test(test_precision),
                                     cmocka_unit_test(test_refused)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
