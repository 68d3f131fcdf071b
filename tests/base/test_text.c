/* Sizes, counts and times as they are shown; the edges are where units change. */
#include "base/text.h"

#include "tests/support/assertions.h"

static void bytes(void **state) {
  (void)state;
  char t[SB_TEXT_SIZE];
  static const struct {
    double value;
    const char *text;
  } cases[] = {{0, "0 B"},           {1023, "1023 B"},
               {1024, "1.00 KiB"},   {1536, "1.50 KiB"},
               {10235, "10.0 KiB"},  {1048575, "1.00 MiB"},
               {269e6, "257 MiB"},   {1.5 * 1073741824, "1.50 GiB"},
               {141.2e9, "132 GiB"}, {1.1259e15, "1.00 PiB"},
               {1e19, "8882 PiB"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    assert_string_equal(sb_text_bytes(t, sizeof t, cases[i].value), cases[i].text);
}

static void counts(void **state) {
  (void)state;
  char t[SB_TEXT_SIZE];
  assert_string_equal(sb_text_count(t, sizeof t, 999), "999");
  assert_string_equal(sb_text_count(t, sizeof t, 1000), "1.00 k");
  assert_string_equal(sb_text_count(t, sizeof t, 134515008), "135 M");
  assert_string_equal(sb_text_count(t, sizeof t, 4.3e6), "4.30 M");
  assert_string_equal(sb_text_count(t, sizeof t, 70.55e9), "70.5 G");
}

static void seconds(void **state) {
  (void)state;
  char t[SB_TEXT_SIZE];
  assert_string_equal(sb_text_seconds(t, sizeof t, 0.354), "0.35 s");
  assert_string_equal(sb_text_seconds(t, sizeof t, 59.94), "59.9 s");
  assert_string_equal(sb_text_seconds(t, sizeof t, 59.96), "1 min 00 s");
  assert_string_equal(sb_text_seconds(t, sizeof t, 3599.4), "59 min 59 s");
  assert_string_equal(sb_text_seconds(t, sizeof t, 3599.6), "1 h 00 min");
  assert_string_equal(sb_text_seconds(t, sizeof t, 11220), "3 h 07 min");
  assert_string_equal(sb_text_seconds(t, sizeof t, 1.0 / 0.0), "unknown");
  assert_string_equal(sb_text_seconds(t, sizeof t, 0.0 / 0.0), "unknown");
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(bytes), cmocka_unit_test(counts),
                                     cmocka_unit_test(seconds)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
