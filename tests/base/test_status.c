/* Messages of failures, the place they come from, and the ways to hand a status up. */
#include "base/status.h"

#include <stdbool.h>

#include "tests/support/assertions.h"

static void one_line_whatever_is_in_it(void **state) {
  (void)state;
  assert_int_equal(sb_fail(SB_ERR_IO, "%s: line\nbreak\x7f", "a\tb"), SB_ERR_IO);
  assert_string_equal(sb_message(), "a\\tb: line\\nbreak\\x7f");
  /* the message may be among the arguments */
  assert_int_equal(sb_fail(SB_ERR_FORMAT, "%s, again", sb_message()), SB_ERR_FORMAT);
  assert_string_equal(sb_message(), "a\\tb: line\\nbreak\\x7f, again");
}

/* A name of a file cannot colour, clear or forge anything. */
static void nothing_that_a_terminal_obeys(void **state) {
  (void)state;
  sb_fail(SB_ERR_FORMAT, "config.json: \"%s\"",
          /* NOLINTNEXTLINE(misc-misleading-bidirectional): the subject of the test */
          "a\033[2J\r\xc2\x9b"
          "1m\xff \xe2\x80\xae\xc3\xa9");
  assert_string_equal(sb_message(), "config.json: \"a\\x1b[2J\\r\\u009b1m\\xff \\u202e\xc3\xa9\"");
}

/* Of a long message the beginning and the end stay, whatever is between them. */
static void long_names(void **state) {
  (void)state;
  enum { BYTES = 100000 };
  char *name = malloc(BYTES + 1), expected[600];
  for (int kind = 0; kind < 3; kind++) {
    for (size_t i = 0; i < BYTES; i++)
      name[i] = kind == 0 ? 'n' : kind == 1 ? '\033' : "\xc3\xa9"[i % 2];
    name[BYTES] = 0;
    sb_fail(SB_ERR_FORMAT, "shard 3: tensor %s is not known; fetch the folder again", name);
    assert_in_range(strlen(sb_message()), 400, kind == 1 ? 1700 : 500);
    assert_memory_equal(sb_message(), "shard 3: tensor ", 16);
    assert_non_null(strstr(sb_message(), "..."));
    const char *end = strstr(sb_message(), " is not known; fetch the folder again");
    assert_non_null(end);
    if (kind == 2) { /* no half of a character */
      assert_null(strstr(sb_message(), "\\x"));
      assert_true((unsigned char)end[-1] == 0xa9);
    }
  }
  free(name);
  memset(expected, 'x', 500);
  expected[500] = 0;
  sb_fail(SB_ERR_FORMAT, "%s", expected);
  assert_string_equal(sb_message(), expected); /* all of what is not too long */
}

static void origin(void **state) {
  (void)state;
  char text[SB_ORIGIN_SIZE + 4], expected[SB_ORIGIN_SIZE + 4] = "";
  sb_fail(SB_ERR_IO, "here");
#ifndef NDEBUG
  snprintf(expected, sizeof expected, " [%s:%d]", __FILE__, __LINE__ - 2);
  assert_non_null(strstr(expected, "[tests/base/test_status.c:")); /* from the source folder on */
#endif
  assert_string_equal(sb_origin_text(text, sizeof text), expected);
}

static void origin_from_elsewhere(void **state) {
  (void)state;
  char text[SB_ORIGIN_SIZE + 4], path[300];
  assert_int_equal(sb_fail_from("io/file.c:12", SB_ERR_IO, "no"), SB_ERR_IO);
  assert_string_equal(sb_origin(), "io/file.c:12");
  assert_string_equal(sb_origin_text(text, sizeof text), " [io/file.c:12]");
  assert_int_equal(sb_fail_from(sb_origin(), SB_ERR_IO, "%s, again", sb_message()), SB_ERR_IO);
  assert_string_equal(sb_origin(), "io/file.c:12");
  /* of a long path the end is kept */
  memset(path, 'x', sizeof path);
  strcpy(path + 250, "/io/file.c:12");
  sb_fail_from(path, SB_ERR_IO, "no");
  assert_int_equal(strlen(sb_origin()), SB_ORIGIN_SIZE - 1);
  assert_string_equal(sb_origin() + strlen(sb_origin()) - 13, "/io/file.c:12");
  sb_fail_from("", SB_ERR_IO, "no");
  assert_string_equal(sb_origin_text(text, sizeof text), "");
}

static int calls;

static sb_status give(sb_status status) {
  calls++;
  return status;
}

static sb_status chain(sb_status first, sb_status second) {
  sb_status status = give(first);
  SB_THEN(give(second));
  SB_THEN(give(SB_OK));
  return status;
}

static sb_status jump(sb_status first, bool *reached) {
  sb_status status;
  *reached = false;
  SB_GO(give(first));
  *reached = true;
done:
  return status;
}

static sb_status hand_up(sb_status first) {
  SB_TRY(give(first));
  return SB_ERR_INTERNAL;
}

static void ways_up(void **state) {
  (void)state;
  bool reached;
  calls = 0;
  assert_int_equal(chain(SB_OK, SB_OK), SB_OK);
  assert_int_equal(calls, 3);
  assert_int_equal(chain(SB_OK, SB_ERR_IO), SB_ERR_IO); /* the last link is not evaluated */
  assert_int_equal(calls, 5);
  assert_int_equal(chain(SB_ERR_RANGE, SB_ERR_IO), SB_ERR_RANGE);
  assert_int_equal(calls, 6);
  assert_int_equal(jump(SB_OK, &reached), SB_OK);
  assert_true(reached);
  assert_int_equal(jump(SB_ERR_IO, &reached), SB_ERR_IO);
  assert_false(reached);
  assert_int_equal(hand_up(SB_OK), SB_ERR_INTERNAL);
  assert_int_equal(hand_up(SB_ERR_IO), SB_ERR_IO);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(one_line_whatever_is_in_it),
                                     cmocka_unit_test(nothing_that_a_terminal_obeys),
                                     cmocka_unit_test(long_names),
                                     cmocka_unit_test(origin),
                                     cmocka_unit_test(origin_from_elsewhere),
                                     cmocka_unit_test(ways_up)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
