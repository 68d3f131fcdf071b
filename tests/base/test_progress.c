/* When a progress line is due, and what it says. */
#include "base/log.h"
#include "base/progress.h"

#include "tests/support/assertions.h"

static void due(void **state) {
  (void)state;
  assert_false(sb_progress_due(false, 59.9, -1.0));
  assert_true(sb_progress_due(false, 60.0, -1.0));
  assert_false(sb_progress_due(false, 119.9, 60.0));
  assert_true(sb_progress_due(false, 120.0, 60.0));
  assert_true(sb_progress_due(true, 0.5, -1.0));
  assert_false(sb_progress_due(true, 0.6, 0.5));
  assert_true(sb_progress_due(true, 0.75, 0.5));
}

static void wording(void **state) {
  (void)state;
  char t[160];
  sb_progress_format(t, sizeof t, "score", 42, 100, 21.0);
  assert_string_equal(t, "score  42%  21.0 s, 29.0 s to go");
  sb_progress_format(t, sizeof t, "score", 0, 100, 6.0);
  assert_string_equal(t, "score  0%  6.00 s");
  sb_progress_format(t, sizeof t, "score", 130, 100, 6.0); /* never beyond the end */
  assert_string_equal(t, "score  100%  6.00 s, 0.00 s to go");
  sb_progress_format(t, sizeof t, "search", 3, 0, 6.0);
  assert_string_equal(t, "search  6.00 s");
}

static void short_phases_say_nothing(void **state) {
  (void)state;
  char *text;
  size_t length;
  FILE *stream = open_memstream(&text, &length);
  assert_non_null(stream);
  sb_log_open_to(stream, true);
  sb_progress_begin("score", 1000);
  for (int i = 0; i < 1000; i++) sb_progress_step(i);
  sb_progress_end();
  fclose(stream);
  assert_int_equal(length, 0);
  free(text);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(due), cmocka_unit_test(wording),
                                     cmocka_unit_test(short_phases_say_nothing)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
