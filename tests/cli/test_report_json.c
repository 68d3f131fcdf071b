/* The report: order of keys, numbers JSON cannot hold, ranks that have none, and
 * where it is written. */
#include "cli/report_json.h"

#include <math.h>
#include <unistd.h>

#include "cli/threads.h"
#include "tests/support/assertions.h"
#include "tests/support/scratch.h"

static void contents(void **state) {
  (void)state;
  sb_world world = {.size = 4, .nodes = 2, .rank = 0};
  json_t *report = sb_report_begin(&world, "eval");
  sb_report_real(report, "perplexity", 12.5);
  sb_report_real(report, "nothing", NAN);
  sb_report_count(report, "tokens", UINT64_MAX);
  sb_report_text(report, "path", "a \"quoted\" name");
  char *text = json_dumps(report, JSON_COMPACT);
  assert_string_equal(
      text, "{\"program\":\"shardbits\",\"version\":\"" SB_VERSION
            "\",\"command\":\"eval\",\"ranks\":4,\"nodes\":2,\"perplexity\":12.5,\"nothing\":null,"
            "\"tokens\":9223372036854775807,\"path\":\"a \\\"quoted\\\" name\"}");
  free(text);
  json_decref(report);
  world.rank = 1;
  report = sb_report_begin(&world, "eval");
  assert_null(report);
  sb_report_real(report, "perplexity", 12.5);
  sb_report_text(report, "path", "x");
}

static void written(void **state) {
  (void)state;
  sb_world world = {.size = 1, .nodes = 1}; /* one rank agrees with itself, without MPI */
  const char *file = scratch_path("r.json"), *other = scratch_path("none/r.json");
  json_t *report = sb_report_begin(&world, "plan"), *back;
  assert_ok(sb_report_write(&world, NULL, report));
  assert_ok(sb_report_write(&world, file, report));
  back = json_load_file(file, 0, NULL);
  assert_true(json_equal(back, report));
  json_decref(back);
  assert_fails(sb_report_write(&world, other, report), SB_ERR_IO, other);
  json_decref(report);
  assert_int_equal(unlink(file), 0);
  assert_int_equal(rmdir(scratch), 0); /* nothing else was left */
}

static void quotas(void **state) {
  (void)state;
  assert_int_equal(sb_threads_quota("max 100000\n"), 0);
  assert_int_equal(sb_threads_quota("200000 100000\n"), 2);
  assert_int_equal(sb_threads_quota("150000 100000\n"), 2);
  assert_int_equal(sb_threads_quota("50000 100000\n"), 1);
  assert_int_equal(sb_threads_quota("100000"), 0);
  assert_int_equal(sb_threads_quota("100000 0"), 0);
  assert_int_equal(sb_threads_quota(""), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(contents),
      cmocka_unit_test_setup_teardown(written, scratch_setup, scratch_teardown),
      cmocka_unit_test(quotas)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
