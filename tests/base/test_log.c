/* Lines appear where the process speaks, nowhere else; a transient line is wiped before the next
 * one. */
#include "base/log.h"

#include "tests/support/assertions.h"

static char *text;
static size_t length;

static FILE *capture(bool speaks) {
  FILE *stream = open_memstream(&text, &length);
  assert_non_null(stream);
  sb_log_open_to(stream, speaks);
  return stream;
}

static void lines(void **state) {
  (void)state;
  FILE *stream = capture(true);
  sb_log_line("%d of %s", 3, "many");
  sb_log_transient("almost");
  sb_log_line("done");
  fclose(stream);
  assert_string_equal(text, "3 of many\nalmost\r\033[Kdone\n");
  free(text);
}

static void silence(void **state) {
  (void)state;
  FILE *stream = capture(false);
  sb_log_line("nobody hears");
  sb_log_phase("score", 1.0, 1e9, "%s", "nor this");
  sb_log_transient("nor that");
  fclose(stream);
  assert_int_equal(length, 0);
  free(text);
}

static void phases(void **state) {
  (void)state;
  FILE *stream = capture(true);
  sb_log_phase("score", 2.0, 430e9, "%d sequences", 32);
  sb_log_phase("write", 0.5, 0.0, "%s", "");
  fclose(stream);
  char *second = strchr(text, '\n');
  assert_non_null(second);
  *second++ = 0;
  assert_non_null(strstr(text, "score "));
  assert_non_null(strstr(text, " 2.00 s "));
  assert_non_null(strstr(text, " 215 GFLOP/s "));
  assert_non_null(strstr(text, "iB  32 sequences")); /* memory, then the detail */
  assert_null(strstr(second, "GFLOP/s"));
  assert_string_equal(second + strlen(second) - 3, "iB\n");
  free(text);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(lines), cmocka_unit_test(silence),
                                     cmocka_unit_test(phases)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
