/* Events as JSON lines: one line per event, complete, and no step twice after a run was cut off. */
#include "io/events.h"

#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "tests/support/files.h"
#include "tests/support/scratch.h"

static void write_steps(const char *path, uint64_t from, uint64_t first, uint64_t last) {
  sb_events *events;
  assert_ok(sb_events_open(path, from, &events));
  for (uint64_t step = first; step <= last; step++) {
    json_t *event = sb_event("step", step);
    sb_event_real(event, "loss", step == 2 ? NAN : 1.0 / (double)step);
    assert_ok(sb_events_write(events, event));
  }
  sb_events_close(&events);
}

/* The steps of the file's lines, which are JSON objects. */
static size_t steps_of(const char *path, uint64_t *steps) {
  size_t bytes, count = 0;
  char *text = (char *)get_file(path, &bytes);
  text[bytes] = '\0';
  for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
    json_t *event = json_loads(line, 0, NULL);
    assert_true(json_is_integer(json_object_get(event, "step")));
    steps[count++] = (uint64_t)json_integer_value(json_object_get(event, "step"));
    const json_t *loss = json_object_get(event, "loss");
    assert_true(steps[count - 1] == 2 ? json_is_null(loss) : json_is_real(loss));
    json_decref(event);
  }
  free(text);
  return count;
}

static void expect_run(const char *path, uint64_t last) {
  uint64_t steps[32];
  assert_int_equal(steps_of(path, steps), last);
  for (uint64_t i = 0; i < last; i++) assert_int_equal(steps[i], i + 1);
}

static void test_goes_on(void **state) {
  (void)state;
  char path[1024];
  snprintf(path, sizeof path, "%s", scratch_path("events"));
  put_text(path, "what was there before\n");
  write_steps(path, 0, 1, 7);
  expect_run(path, 7);
  write_steps(path, 4, 5, 9); /* cut off after 7, the last checkpoint of 4 */
  expect_run(path, 9);
  FILE *file = fopen(path, "ab");
  fputs("{\"event\": \"step\", \"st", file); /* cut off in the middle of a line */
  fclose(file);
  write_steps(path, 9, 10, 11);
  expect_run(path, 11);
  write_steps(path, 30, 12, 12); /* of a later step than the file has */
  expect_run(path, 12);
  remove(path);
  write_steps(path, 0, 1, 3);
  expect_run(path, 3);
}

static void test_nobody_listens(void **state) {
  sb_events *events;
  (void)state;
  assert_ok(sb_events_open(NULL, 3, &events));
  assert_null(events);
  assert_ok(sb_events_write(events, sb_event("step", 1)));
  sb_events_close(&events);
}

static void test_refused(void **state) {
  sb_events *events;
  (void)state;
  assert_fails(sb_events_open(scratch_path("no/folder"), 0, &events), SB_ERR_IO, "no/folder");
  assert_null(events);
}

/* Links like /dev/stdout that lead to a file may not be replaced. */
static void test_names_of_open_files(void **state) {
  sb_events *events;
  char name[64];
  (void)state;
  const char *path = scratch_path("behind");
  put_text(path, "kept\n");
  const int fd = open(path, O_WRONLY);
  snprintf(name, sizeof name, "/dev/fd/%d", fd);
  assert_fails(sb_events_open(name, 0, &events), SB_ERR_IO, "own name");
  close(fd);
}

static void test_stream(void **state) {
  (void)state;
  sb_events *events;
  char path[1024], got[256] = "";
  snprintf(path, sizeof path, "%s", scratch_path("pipe"));
  assert_int_equal(mkfifo(path, 0600), 0);
  assert_fails(sb_events_open(path, 0, &events), SB_ERR_IO, "pipe that nobody reads");
  const int reader = open(path, O_RDONLY | O_NONBLOCK);
  assert_ok(sb_events_open(path, 7, &events));
  assert_ok(sb_events_write(events, sb_event("step", 8)));
  const char line[] = "{\"event\": \"step\", \"step\": 8}\n";
  assert_int_equal(read(reader, got, sizeof got), sizeof line - 1);
  assert_string_equal(got, line);
  assert_false(sb_events_lost(events));
  close(reader); /* and nobody reads any more */
  assert_ok(sb_events_write(events, sb_event("step", 9)));
  assert_true(sb_events_lost(events));
  assert_ok(sb_events_write(events, sb_event("step", 10)));
  sb_events_close(&events);
}

/* A device that takes nothing: the run is told once, and goes on. */
static void test_full(void **state) {
  (void)state;
  sb_events *events;
  char *text;
  size_t bytes;
  FILE *log = open_memstream(&text, &bytes);
  sb_log_open_to(log, true);
  assert_ok(sb_events_open("/dev/full", 0, &events));
  for (uint64_t step = 1; step < 4; step++)
    assert_ok(sb_events_write(events, sb_event("step", step)));
  assert_true(sb_events_lost(events));
  sb_events_close(&events);
  sb_log_open_to(stderr, false);
  fclose(log);
  assert_non_null(strstr(text, "/dev/full: No space left"));
  assert_null(strchr(strchr(text, '\n') + 1, '\n'));
  free(text);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_goes_on), cmocka_unit_test(test_nobody_listens),
      cmocka_unit_test(test_refused), cmocka_unit_test(test_names_of_open_files),
      cmocka_unit_test(test_stream),  cmocka_unit_test(test_full)};
  signal(SIGPIPE, SIG_IGN); /* as sb_cleanup_install does */
  return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
