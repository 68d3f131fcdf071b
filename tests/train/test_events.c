/* Events as JSON lines: one line per event, complete, and no step twice after a run was cut off. */
#include "train/events.h"

#include <math.h>

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

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_goes_on),
                                     cmocka_unit_test(test_nobody_listens),
                                     cmocka_unit_test(test_refused)};
  return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
