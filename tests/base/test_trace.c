/* Recording: spans nest as blocks do, are kept within the bound, and add their seconds whether or
 * not anybody records. */
#include "base/clock.h"
#include "base/log.h"
#include "base/trace.h"

#include "tests/support/assertions.h"

static void pass_time(double seconds) {
  const double end = sb_now() + seconds;
  while (sb_now() < end) continue;
}

static void inner(int64_t index) {
  SB_SPAN(SB_TRACE_WAIT, "inner", index);
  pass_time(1e-4);
}

static void outer(void) {
  SB_SPAN(SB_TRACE_PHASE, "outer", SB_TRACE_NONE);
  for (int64_t i = 0; i < 3; i++) inner(i);
}

static void spans_nest(void **state) {
  (void)state;
  sb_trace_start(100);
  outer();
  inner(7);
  sb_trace_stop();
  assert_int_equal(sb_trace_count(), 5);
  const sb_trace_event *o = sb_trace_at(0);
  assert_string_equal(o->name, "outer");
  assert_int_equal(o->depth, 0);
  assert_int_equal(o->category, SB_TRACE_PHASE);
  assert_int_equal(o->index, SB_TRACE_NONE);
  assert_true(o->begin >= sb_trace_begun());
  for (size_t i = 1; i < 4; i++) {
    const sb_trace_event *e = sb_trace_at(i), *before = sb_trace_at(i - 1);
    assert_string_equal(e->name, "inner");
    assert_int_equal(e->depth, 1);
    assert_int_equal(e->index, (int64_t)i - 1);
    assert_true(e->end - e->begin >= 1e-4);
    assert_true(e->begin >= o->begin && e->end <= o->end);
    assert_true(e->begin >= (i == 1 ? o->begin : before->end));
  }
  assert_int_equal(sb_trace_at(4)->depth, 0);
  assert_true(sb_trace_at(4)->begin >= o->end);
  sb_trace_free();
  assert_int_equal(sb_trace_count(), 0);
}

static bool leave(bool early) {
  SB_SPAN(SB_TRACE_COMPUTE, "left", early);
  if (early) return true;
  pass_time(1e-4);
  return false;
}

static void a_span_ends_wherever_its_block_is_left(void **state) {
  (void)state;
  sb_trace_start(100);
  leave(true);
  leave(false);
  for (int i = 0; i < 2; i++) {
    SB_SPAN(SB_TRACE_COMPUTE, "loop", i);
    if (i == 0) continue;
    break;
  }
  sb_trace_stop();
  assert_int_equal(sb_trace_count(), 4);
  for (size_t i = 0; i < 4; i++) assert_int_equal(sb_trace_at(i)->depth, 0);
  sb_trace_free();
}

/* As at the end of a run that failed: the command's own span is still open. */
static void stopping_ends_what_is_open(void **state) {
  (void)state;
  sb_trace_start(100);
  sb_span a = sb_span_begin(SB_TRACE_PHASE, "a", SB_TRACE_NONE, NULL),
          b = sb_span_begin(SB_TRACE_DISK, "b", SB_TRACE_NONE, NULL);
  pass_time(1e-4);
  sb_trace_stop();
  for (size_t i = 0; i < 2; i++) assert_true(sb_trace_at(i)->end - sb_trace_at(i)->begin >= 1e-4);
  assert_true(sb_trace_at(0)->end == sb_trace_at(1)->end);
  const double end = sb_trace_at(0)->end;
  sb_span_end(&b);
  sb_span_end(&a);
  assert_true(sb_trace_at(0)->end == end);
  sb_trace_free();
}

static void seconds_are_added_with_and_without_a_recording(void **state) {
  (void)state;
  double seconds = 0;
  for (int recorded = 0; recorded < 2; recorded++) {
    if (recorded) sb_trace_start(10);
    for (int i = 0; i < 2; i++) {
      SB_SPAN_INTO(&seconds, SB_TRACE_COMPUTE, "timed", i);
      pass_time(1e-3);
    }
    assert_int_equal(sb_trace_count(), recorded ? 2 : 0);
  }
  assert_true(seconds >= 4e-3 && seconds < 1);
  sb_trace_free();
}

static void spans_beyond_the_bound_are_counted(void **state) {
  (void)state;
  enum { MOST = 80, DEEP = 3 };
  sb_trace_start(MOST);
  SB_SPAN(SB_TRACE_PHASE, "0", 0);
  SB_SPAN(SB_TRACE_PHASE, "1", 0);
  SB_SPAN(SB_TRACE_PHASE, "2", 0);
  for (int i = 0; i < 200; i++) inner(i);
  /* the last eighth is not for depth 3 */
  assert_int_equal(sb_trace_count(), MOST - MOST / 8);
  assert_int_equal(sb_trace_dropped(), 200 + DEEP - (MOST - MOST / 8));
  sb_trace_stop();
  for (size_t i = DEEP; i < sb_trace_count(); i++)
    assert_int_equal(sb_trace_at(i)->index, (int64_t)(i - DEEP));
  sb_trace_start(MOST);
  for (int i = 0; i < 200; i++) outer();
  assert_int_equal(sb_trace_count(), MOST);
  assert_int_equal(sb_trace_dropped(), 800 - MOST);
  sb_trace_free();
}

static void descend(int levels) {
  SB_SPAN(SB_TRACE_COMPUTE, "level", levels);
  if (levels > 1) descend(levels - 1);
}

static void spans_too_deep_are_dropped(void **state) {
  (void)state;
  sb_trace_start(1000);
  descend(SB_TRACE_DEPTH + 5);
  inner(0);
  sb_trace_stop();
  assert_int_equal(sb_trace_count(), SB_TRACE_DEPTH + 1);
  assert_int_equal(sb_trace_dropped(), 5);
  assert_int_equal(sb_trace_at(SB_TRACE_DEPTH)->depth, 0);
  sb_trace_free();
}

/* More than one chunk of memory: the places of early spans do not move while they are open. */
static void many_spans(void **state) {
  (void)state;
  enum { MANY = 100000 };
  sb_trace_start(SB_TRACE_EVENTS);
  sb_span first = sb_span_begin(SB_TRACE_PHASE, "first", SB_TRACE_NONE, NULL);
  for (int64_t i = 0; i < MANY; i++) {
    SB_SPAN(SB_TRACE_COMPUTE, "many", i);
  }
  sb_span_end(&first);
  sb_trace_stop();
  assert_int_equal(sb_trace_count(), MANY + 1);
  for (int64_t i = 0; i < MANY; i++) assert_int_equal(sb_trace_at((size_t)i + 1)->index, i);
  assert_true(sb_trace_at(0)->end >= sb_trace_at(MANY)->end);
  sb_trace_free();
}

static void phases_are_debug_lines(void **state) {
  (void)state;
  char *text;
  size_t length;
  FILE *stream = open_memstream(&text, &length);
  assert_non_null(stream);
  sb_log_open_to(stream, false);
  sb_log_set_debug(true, 4);
  outer(); /* whose inner spans are no phases */
  sb_log_set_debug(false, 4);
  outer();
  fclose(stream);
  sb_log_open(false);
  assert_non_null(strstr(text, "] phase: outer begins\n"));
  assert_non_null(strstr(text, "] phase: outer ends after 0.0"));
  assert_null(strstr(text, "inner"));
  free(text);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(spans_nest),
      cmocka_unit_test(a_span_ends_wherever_its_block_is_left),
      cmocka_unit_test(stopping_ends_what_is_open),
      cmocka_unit_test(seconds_are_added_with_and_without_a_recording),
      cmocka_unit_test(spans_beyond_the_bound_are_counted),
      cmocka_unit_test(spans_too_deep_are_dropped),
      cmocka_unit_test(many_spans),
      cmocka_unit_test(phases_are_debug_lines)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
