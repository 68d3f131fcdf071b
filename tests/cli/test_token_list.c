/* Token files and weights on the command line. */
#include "cli/token_list.h"

#include "tests/support/files.h"
#include "tests/support/scratch.h"

static void expect(const char *value, size_t count, ...) {
  sb_token_list list;
  va_list arguments;
  va_start(arguments, count);
  assert_ok(sb_token_list_parse("tokens", value, &list));
  assert_int_equal(list.count, count);
  for (size_t i = 0; i < count; i++) {
    assert_string_equal(list.sources[i].path, va_arg(arguments, const char *));
    assert_true(list.sources[i].weight == va_arg(arguments, double));
  }
  va_end(arguments);
  sb_token_list_free(&list);
}

static void refuse(const char *value, const char *text) {
  sb_token_list list;
  assert_fails(sb_token_list_parse("tokens", value, &list), SB_ERR_USAGE, text);
  sb_token_list_free(&list);
}

static void test_lists(void **state) {
  (void)state;
  expect("a.bin", 1, "a.bin", 0.0);
  expect("a.bin:0.7,b.bin:3e-1", 2, "a.bin", 0.7, "b.bin", 0.3);
  expect("parts/*.bin:2,c:d.npy", 2, "parts/*.bin", 2.0, "c:d.npy", 0.0);
  expect("a.bin:", 1, "a.bin:", 0.0);
}

/* Names that look like lists or weights, of files that are there. */
static void test_odd_names(void **state) {
  char value[2048], other[1024];
  (void)state;
  snprintf(value, sizeof value, "%s", scratch_path("a,b.bin:2"));
  put_text(value, "");
  expect(value, 1, value, 0.0);
  snprintf(other, sizeof other, "%s", scratch_path("x:5"));
  put_text(other, "");
  snprintf(value, sizeof value, "%s:7,q", other);
  expect(value, 2, other, 7.0, "q", 0.0);
}

static void test_refused(void **state) {
  char value[3 * SB_TRAIN_SOURCES] = "a";
  (void)state;
  refuse("a,,b", "one of the names is empty");
  refuse(":2", "one of the names is empty");
  refuse("a:0", "a weight is a number above 0");
  refuse("a:1,b:-2", "--tokens b:-2: a weight");
  refuse("a:inf", "above 0");
  for (int i = 0; i < SB_TRAIN_SOURCES; i++) strcat(value, ",a");
  refuse(value, "more than 64 files; use a pattern");
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_lists), cmocka_unit_test(test_odd_names),
                                     cmocka_unit_test(test_refused)};
  return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
