/* Lines appear where the process speaks, or where debug lines were asked for, nowhere else; a
 * transient line is wiped before the next one. */
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

static void debug_lines(void **state) {
  (void)state;
  FILE *stream = capture(false);
  sb_log_debug("store", "nobody asked");
  sb_log_set_debug(true, 3);
  assert_true(sb_log_debugs());
  sb_log_debug("store", "group %d", 7);
  sb_log_line("not for users of this rank");
  sb_log_set_debug(false, 3);
  sb_log_debug("store", "no more");
  fclose(stream);
  double seconds = -1;
  int group = 0;
  assert_int_equal(sscanf(text, "[3 %lf] store: group %d", &seconds, &group), 2);
  assert_true(seconds >= 0 && seconds < 60);
  assert_int_equal(group, 7);
  assert_string_equal(strchr(text, '\n'), "\n"); /* one line */
  free(text);
}

static void debug_lines_wipe_progress(void **state) {
  (void)state;
  FILE *stream = capture(true);
  sb_log_set_debug(true, 0);
  sb_log_transient("almost");
  sb_log_debug("pass", "layer");
  sb_log_set_debug(false, 0);
  fclose(stream);
  assert_memory_equal(text, "almost\r\033[K[0 ", strlen("almost\r\033[K[0 "));
  free(text);
}

static bool wants(const char *request, int rank, int ranks) {
  bool debugs = false;
  assert_int_equal(sb_log_parse(request, rank, ranks, &debugs), SB_OK);
  return debugs;
}

static void requests(void **state) {
  (void)state;
  static const struct {
    const char *text, *ranks; /* one character a rank */
  } cases[] = {{NULL, "000000"},         {"", "000000"},
               {"info", "000000"},       {"debug", "100000"},
               {"debug:all", "111111"},  {"debug:0", "100000"},
               {"debug:5", "000001"},    {"debug:0,3", "100100"},
               {"debug:1-3", "011100"},  {"debug:0-1,4-5", "110011"},
               {"debug:2,2-2", "001000"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    for (int rank = 0; rank < 6; rank++)
      assert_int_equal(wants(cases[i].text, rank, 6), cases[i].ranks[rank] == '1');
}

static void bad_requests(void **state) {
  (void)state;
  static const char *const bad[] = {
      "loud",      "Debug",    "debug:",     "debug:x",     "debug:0,",
      "debug:,1",  "debug:1-", "debug:-1",   "debug:0 1",   "debugall",
      "debug:3-1", "debug:6",  "debug:0,99", "debug:all,0", "debug:99999999999999999999"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    for (int rank = 0; rank < 6; rank += 5) {
      bool debugs = true;
      assert_int_equal(sb_log_parse(bad[i], rank, 6, &debugs), SB_ERR_USAGE);
      assert_non_null(strstr(sb_message(), "SHARDBITS_LOG="));
      assert_non_null(strstr(sb_message(), bad[i]));
    }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(lines),
                                     cmocka_unit_test(silence),
                                     cmocka_unit_test(phases),
                                     cmocka_unit_test(debug_lines),
                                     cmocka_unit_test(debug_lines_wipe_progress),
                                     cmocka_unit_test(requests),
                                     cmocka_unit_test(bad_requests)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
