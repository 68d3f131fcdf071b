/* Lists of precisions on a command line. */
#include "cli/precision_list.h"
#include "tests/support/assertions.h"

static void test_lists(void **state) {
  sb_precision_list list;
  (void)state;
  assert_ok(sb_precision_list_parse("x: --p", "nvfp4", false, &list));
  assert_int_equal(list.count, 1);
  assert_int_equal(list.of[0], SB_PRECISION_NVFP4);
  assert_ok(sb_precision_list_parse("x: --p", "fp4-128,high,mxfp8", true, &list));
  assert_int_equal(list.count, 3);
  assert_int_equal(list.of[0], SB_PRECISION_FP4_128);
  assert_int_equal(list.of[1], SB_PRECISION_HIGH);
  assert_int_equal(list.of[2], SB_PRECISION_MXFP8);
}

static void test_refusals(void **state) {
  static const struct {
    const char *text;
    bool high;
    const char *says;
  } cases[] = {
      {"", true, "x: --p: \"\" is none of bf16, fp8-tensor, fp8-128"},
      {"bf16", false, "\"bf16\" is none of fp8-tensor"},
      {"nvfp4,", true, "\"\" is none of"},
      {"nvfp4,,mxfp8", true, "\"\" is none of"},
      {"nvfp4, mxfp8", true, "\" mxfp8\" is none of"},
      {"nvfp4,mxfp8,nvfp4", true, "nvfp4 is given twice"},
      {"bf16,high", true, "bf16 is given twice"},
      {"a-name-that-is-far-longer-than-that-of-any-precision-at-all,nvfp4", true,
       "\"a-name-that-is-far-longer-than-that-of-a\" is none"},
  };
  sb_precision_list list;
  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    assert_fails(sb_precision_list_parse("x: --p", cases[i].text, cases[i].high, &list),
                 SB_ERR_USAGE, cases[i].says);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_lists), cmocka_unit_test(test_refusals)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
