/* Seconds of phases: of the outermost of a name, of one that is open, of names beyond the table's
 * end; and what a watcher hears of phases, progress and warnings. */
#include "base/phases.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/trace.h"
#include "base/watch.h"
#include "tests/support/assertions.h"

static const sb_phase_figures *find(const sb_phase_figures *list, size_t count, const char *name) {
  for (size_t i = 0; i < count; i++)
    if (strcmp(list[i].name, name) == 0) return &list[i];
  return NULL;
}

static char heard[4096];

static void hear(const char *text) {
  strcat(heard, text);
  strcat(heard, ";");
}

static void on_phase(void *context, const char *name, bool begins, double seconds) {
  char text[128];
  assert_true(seconds >= 0);
  snprintf(text, sizeof text, "%s%s", begins ? "+" : "-", name);
  *(int *)context += 1;
  hear(text);
}

static void on_warning(void *context, const char *text) {
  (void)context;
  hear(text);
}

static void timed(void **state) {
  sb_phase_figures list[SB_PHASES_MOST];
  (void)state;
  const int outer = sb_phases_begin("outer", 10);
  const int again = sb_phases_begin("outer", 11); /* within itself */
  const int inner = sb_phases_begin("inner", 12);
  assert_int_equal(outer, again);
  sb_phases_end(again, 13);
  sb_phases_end(inner, 14.5);
  sb_phases_end(outer, 17);
  sb_phases_end(sb_phases_begin("inner", 20), 21);
  const size_t count = sb_phases_read(list);
  assert_string_equal(list[0].name, "outer");
  assert_true(find(list, count, "outer")->seconds == 7);
  assert_true(find(list, count, "inner")->seconds == 3.5);
  assert_true(find(list, count, "inner")->peak > 0);
}

static void watched(void **state) {
  int calls = 0;
  (void)state;
  sb_watch(&(sb_watcher){.context = &calls, .phase = on_phase, .warning = on_warning});
  sb_log_open(false); /* as with --quiet */
  {
    SB_PHASE(phase, "a");
    { SB_PHASE(within, "a"); }
    sb_log_line("warning: %d of a kind", 2);
    sb_log_line("no warning");
    sb_phase_figures list[SB_PHASES_MOST];
    const size_t count = sb_phases_read(list);
    assert_true(find(list, count, "a")->seconds >= 0);
  }
  sb_watch(NULL);
  { SB_PHASE(phase, "b"); }
  assert_string_equal(heard, "+a;2 of a kind;-a;");
  assert_int_equal(calls, 2);
}

static void full(void **state) {
  static char names[SB_PHASES_MOST + 3][16];
  sb_phase_figures list[SB_PHASES_MOST];
  (void)state;
  for (int i = 0; i < SB_PHASES_MOST + 3; i++) {
    snprintf(names[i], sizeof names[i], "phase %d", i);
    sb_phases_end(sb_phases_begin(names[i], 0), 1);
  }
  assert_int_equal(sb_phases_read(list), SB_PHASES_MOST);
  assert_int_equal(sb_phases_begin("one too many", 0), -1);
  sb_phases_end(-1, 5);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(timed), cmocka_unit_test(watched),
                                     cmocka_unit_test(full)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
