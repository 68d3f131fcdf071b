/* What users write by hand: stages, forced precisions, tables of rates. */
#include "policy/forced.h"
#include "policy/rates.h"
#include "policy/stages.h"
#include "random_profile.h"
#include "tests/support/files.h"
#include "tests/support/scratch.h"

static void expect_stages(const char *text, size_t count, const size_t *layers) {
  sb_stages s;
  assert_ok(sb_stages_parse(text, 32, &s));
  assert_int_equal(s.count, count);
  for (size_t k = 0; k < count; k++) assert_int_equal(s.first[k + 1] - s.first[k], layers[k]);
  assert_int_equal(s.first[count], 32);
  assert_int_equal(sb_stages_of(&s, 31), count - 1);
  assert_int_equal(sb_stages_of(&s, s.first[count - 1]), count - 1);
  sb_stages_free(&s);
}

static void test_stages(void **state) {
  sb_stages s;
  static const char *const wrong[] = {"",      "0",        "33",   "-1",
                                      "2x",    ",",        "8,,8", "16,16,",
                                      "16,15", "16,16,16", "a,b",  "99999999999999999999",
                                      "32,0",  "8 8",      " 4"};
  (void)state;
  expect_stages(NULL, 1, (size_t[]){32});
  expect_stages("1", 1, (size_t[]){32});
  expect_stages("5", 5, (size_t[]){7, 7, 6, 6, 6});
  expect_stages("7,9,16", 3, (size_t[]){7, 9, 16});
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    if (sb_stages_parse(wrong[i], 32, &s) != SB_ERR_RANGE) fail_msg("\"%s\" passes", wrong[i]);
    assert_says("pipeline stages");
    assert_null(s.first);
  }
}

static void test_forced(void **state) {
  sb_linears linears = llama_linears((llama_sizes){4, 64, 32, 96});
  sb_precision forced[28];
  const sb_forced_options options = {
      "*.layers.0.*=bf16,*.layers.3.*o_proj=nvfp4,*o_proj=mxfp8,*.layers.3.*=high", 1, 0};
  (void)state;
  assert_ok(sb_forced_set(&linears, &options, forced));
  for (size_t i = 0; i < 28; i++) {
    const sb_precision expected = i == 24                ? SB_PRECISION_NVFP4
                                  : i >= 7 && i % 7 == 3 ? SB_PRECISION_MXFP8
                                  : i < 7 || i / 7 == 3  ? SB_PRECISION_HIGH
                                                         : SB_PRECISION_FREE;
    assert_int_equal(forced[i], expected);
  }
  const struct {
    sb_forced_options options;
    const char *says;
  } wrong[] = {
      {{"*.o_proj", 0, 0}, "is not PATTERN=PRECISION"},
      {{"=bf16", 0, 0}, "is not PATTERN=PRECISION"},
      {{"*.o_proj=fp5", 0, 0}, "*.o_proj: fp5 is no precision; known are bf16"},
      {{"*.o_proj=bf16,*.x_proj=bf16", 0, 0}, "*.x_proj matches none of the linears"},
      {{NULL, 5, 0}, "--keep-first 5 and --keep-last 0 are more layers than the model's 4"},
      {{NULL, 0, 5}, "--keep-first 0 and --keep-last 5 are more layers than the model's 4"},
      {{NULL, 3, 2}, "--keep-first 3 and --keep-last 2 are more layers than the model's 4"},
      {{"*.down_proj=nvfp4", 2, 0},
       "--force makes model.layers.0.mlp.down_proj nvfp4, and --keep-first 2"},
      {{"*.down_proj=nvfp4", 0, 1},
       "--force makes model.layers.3.mlp.down_proj nvfp4, and --keep-last 1"},
  };
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
    assert_fails(sb_forced_set(&linears, &wrong[i].options, forced), SB_ERR_RANGE, wrong[i].says);
  free(linears.linears);
}

static void test_rates(void **state) {
  const char *path = scratch_path("rates.json");
  const sb_linear o = {"model.layers.1.self_attn.o_proj", 1, 100, 10}, q = {"a.q_proj", 1, 100, 10};
  sb_rates r;
  uint64_t time;
  (void)state;
  assert_ok(sb_rates_read("b300", &r));
  assert_ok(sb_rates_time(&r, &q, SB_PRECISION_HIGH, &time));
  assert_int_equal(time, 1000 * 65536);
  assert_ok(sb_rates_time(&r, &q, SB_PRECISION_NVFP4, &time));
  assert_int_equal(time, 1000 * 32284); /* 65536 / 2.03 = 32283.7 */
  assert_fails(sb_rates_time(&r, &q, SB_PRECISION_FP8_128, &time), SB_ERR_RANGE,
               "b300: has no rate for fp8-128");
  put_text(path,
           "{\"format\":\"shardbits-rates\",\"version\":1,\"rates\":{\"nvfp4\":4,\"mxfp8\":2},"
           "\"linears\":{\"*.layers.1.*o_proj\":{\"nvfp4\":0.5},\"*o_proj\":{\"mxfp8\":1,\"nvfp4\":"
           "8}}}");
  assert_ok(sb_rates_read(path, &r));
  assert_ok(sb_rates_time(&r, &o, SB_PRECISION_NVFP4, &time));
  assert_int_equal(time, 1000 * 131072);
  assert_ok(sb_rates_time(&r, &o, SB_PRECISION_MXFP8, &time));
  assert_int_equal(time, 1000 * 65536);
  assert_ok(sb_rates_time(&r, &q, SB_PRECISION_NVFP4, &time));
  assert_int_equal(time, 1000 * 16384);
  sb_rates_free(&r);
  static const char *const wrong[] = {
      "{\"format\":\"shardbits-policy\",\"version\":1,\"rates\":{}}",
      "{\"format\":\"shardbits-rates\",\"version\":1}",
      "{\"format\":\"shardbits-rates\",\"version\":1,\"rates\":{\"nvfp4\":0}}",
      "{\"format\":\"shardbits-rates\",\"version\":1,\"rates\":{\"nvfp4\":\"2\"}}",
      "{\"format\":\"shardbits-rates\",\"version\":1,\"rates\":{\"bf16\":2}}",
      "{\"format\":\"shardbits-rates\",\"version\":1,\"rates\":{\"fp3\":2}}",
      "{\"format\":\"shardbits-rates\",\"version\":1,\"rates\":{},\"linears\":[]}",
      "{\"format\":\"shardbits-rates\",\"version\":1,\"rates\":{},\"linears\":{\"*\":3}}",
      "{\"format\":\"shardbits-rates\",\"version\":1,\"rates\":{},\"linears\":{\"a\":{\"b\":1}}}",
      "{\"format\":\"shardbits-rates\",\"version\":1,\"rates\":{\"mxfp4\":65}}"};
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    put_text(path, wrong[i]);
    assert_fails(sb_rates_read(path, &r), SB_ERR_FORMAT, path);
    assert_null(r.linears);
  }
  assert_fails(sb_rates_read("b400", &r), SB_ERR_IO, "b400");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_stages),
      cmocka_unit_test(test_forced),
      cmocka_unit_test(test_rates),
  };
  return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
