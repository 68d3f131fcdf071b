/* Sizes, counts and times as they are shown; the edges are where units change. Text of others, as
 * it may be shown. */
#include "base/text.h"

#include <math.h>
#include <stdlib.h>

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

static void reals(void **state) {
  (void)state;
  char t[SB_TEXT_SIZE];
  assert_string_equal(sb_text_real(t, sizeof t, 3e-4), "0.0003");
  assert_string_equal(sb_text_real(t, sizeof t, 1e-12), "1e-12");
  assert_string_equal(sb_text_real(t, sizeof t, 0), "0");
  assert_string_equal(sb_text_real(t, sizeof t, 1e7), "10000000");
  assert_string_equal(sb_text_real(t, sizeof t, 1.0 / 3), "0.3333333333333333");
  assert_true(strtod(sb_text_real(t, sizeof t, -0x1.fffffffffffffp1023), NULL) ==
              -0x1.fffffffffffffp1023);
}

/* What is printed is allowed, and no more than a unit of its last digit away. */
static void limits(void **state) {
  (void)state;
  char t[SB_TEXT_SIZE];
  assert_true(sb_text_limit(t, sizeof t, 1.2592, true) == 1.26);
  assert_string_equal(t, "1.26");
  assert_true(sb_text_limit(t, sizeof t, 8.1951, false) == 8.195);
  assert_true(sb_text_limit(t, sizeof t, 9.9996, true) == 10);
  assert_string_equal(t, "10");
  assert_true(sb_text_limit(t, sizeof t, 40, true) == 40 &&
              sb_text_limit(t, sizeof t, 40, false) == 40);
  for (int i = 1; i < 20000; i++) {
    const double limit = i % 2 ? i / 7919.0 : i / 37.0, unit = pow(10, floor(log10(limit)) - 3);
    const double low = sb_text_limit(t, sizeof t, limit, true);
    assert_true(low >= limit && low <= limit + 1.001 * unit && strtod(t, NULL) == low);
    const double high = sb_text_limit(t, sizeof t, limit, false);
    assert_true(high <= limit && high >= limit - 1.001 * unit && strtod(t, NULL) == high);
  }
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

/* What a terminal obeys is written out; what it shows is not touched. */
static void escapes(void **state) {
  (void)state;
  char t[64], twice[64];
  static const struct {
    const char *from, *shown;
  } cases[] = {
      {"", ""},
      {"plain ~ \\ text nrt", "plain ~ \\ text nrt"},
      {"a\nb\rc\td", "a\\nb\\rc\\td"},
      {"\033[31m\001\177", "\\x1b[31m\\x01\\x7f"},
      {"Gr\xc3\xbc\xc3\x9f"
       "e \xe6\x97\xa5 \xf0\x9f\x98\x80",
       "Gr\xc3\xbc\xc3\x9f"
       "e \xe6\x97\xa5 \xf0\x9f\x98\x80"},
      {"\xc2\x9b"
       "2J",
       "\\u009b2J"}, /* C1: control sequence introducer */
      /* NOLINTNEXTLINE(misc-misleading-bidirectional): the subject of the test */
      {"\xe2\x80\xa8|\xe2\x80\xae|\xe2\x81\xa6", "\\u2028|\\u202e|\\u2066"},
      {"\x9b"
       "2J \xff",
       "\\x9b2J \\xff"},                                       /* no UTF-8 */
      {"\xc0\xaf|\xe0\x80\xaf", "\\xc0\\xaf|\\xe0\\x80\\xaf"}, /* longer than need be */
      {"\xed\xa0\x80|\xf4\x90\x80\x80", "\\xed\\xa0\\x80|\\xf4\\x90\\x80\\x80"},
      {"cut \xe6\x97", "cut \\xe6\\x97"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    assert_string_equal(sb_text_escaped(t, sizeof t, cases[i].from), cases[i].shown);
    assert_string_equal(sb_text_escaped(twice, sizeof twice, t), t);
  }
}

/* Never more than the room, never a part of a character or of an escape. */
static void escapes_are_cut(void **state) {
  (void)state;
  char t[64];
  assert_string_equal(sb_text_escaped(t, 7, "123456"), "123456");
  assert_string_equal(sb_text_escaped(t, 7, "1234567"), "123...");
  assert_string_equal(sb_text_escaped(t, 7,
                                      "12\xc3\xa9"
                                      "45"),
                      "12\xc3\xa9"
                      "45");
  assert_string_equal(sb_text_escaped(t, 7,
                                      "12\xc3\xa9"
                                      "456"),
                      "12...");
  assert_string_equal(sb_text_escaped(t, 9, "1\033\033\033"), "1\\x1b...");
  for (size_t room = 1; room < 24; room++) {
    memset(t, '#', sizeof t);
    /* NOLINTNEXTLINE(misc-misleading-bidirectional): the subject of the test */
    sb_text_escaped(t, room, "\033\xe2\x80\xae\xf0\x9f\x98\x80\xff and more");
    assert_true(strlen(t) < room);
    assert_int_equal(t[room], '#');
  }
  t[0] = '#';
  sb_text_escaped(t, 0, "x");
  assert_int_equal(t[0], '#');
}

static void printed_lines(void **state) {
  (void)state;
  char *text;
  size_t length;
  FILE *stream = open_memstream(&text, &length);
  assert_non_null(stream);
  sb_text_print(stream, "%s: %d, version %s", "out\nput", 7, "\033[2J");
  fclose(stream);
  assert_string_equal(text, "out\\nput: 7, version \\x1b[2J\n");
  free(text);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(escapes), cmocka_unit_test(escapes_are_cut), cmocka_unit_test(printed_lines),
      cmocka_unit_test(bytes),   cmocka_unit_test(counts),          cmocka_unit_test(seconds),
      cmocka_unit_test(reals),   cmocka_unit_test(limits)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
