/* The trace file: JSON that a parser reads, with every rank, its spans in their order and nested,
 * on one clock. */
#include "mpi/trace_gather.h"

#include <jansson.h>
#include <math.h>

#include "base/clock.h"
#include "base/trace.h"

#include "tests/support/ranks.h"

typedef struct text {
  char *bytes;
  size_t length;
  int calls, fail_at; /* the call that fails; 0: none */
} text;

static sb_status append(void *context, const char *piece, size_t bytes) {
  text *t = context;
  EXPECT(world.rank == 0);
  if (++t->calls == t->fail_at) return sb_fail(SB_ERR_IO, "the disk is full");
  t->bytes = realloc(t->bytes, t->length + bytes);
  memcpy(t->bytes + t->length, piece, bytes);
  t->length += bytes;
  return SB_OK;
}

static void record(int spans) {
  SB_SPAN(SB_TRACE_PHASE, "phase", SB_TRACE_NONE);
  for (int i = 0; i < spans; i++) {
    SB_SPAN(SB_TRACE_COMPUTE, "layer", i);
    SB_SPAN(SB_TRACE_WAIT, "acquire", SB_TRACE_NONE);
  }
}

/* Spans of rank r. Those of the last rank take several pieces on their way. */
static int spans_of(int r) {
  return r == world.size - 1 ? 5000 : 3 * r;
}

static double number(const json_t *event, const char *key) {
  const json_t *value = json_object_get(event, key);
  EXPECT(json_is_number(value));
  return json_number_value(value);
}

static bool says(const json_t *event, const char *key, const char *expected) {
  const char *value = json_string_value(json_object_get(event, key));
  return value && strcmp(value, expected) == 0;
}

/* Events [*at, ...) of rank r: two of metadata, the phase, and pairs within it. */
static void check_rank(const json_t *events, size_t *at, int r) {
  char name[300];
  const json_t *process = json_array_get(events, (*at)++), *order = json_array_get(events, (*at)++),
               *phase = json_array_get(events, (*at)++);
  snprintf(name, sizeof name, "rank %d on %s", r, world.host);
  EXPECT(says(process, "ph", "M") && says(process, "name", "process_name"));
  EXPECT(says(json_object_get(process, "args"), "name", name));
  EXPECT(number(json_object_get(order, "args"), "sort_index") == r);
  EXPECT(says(phase, "name", "phase") && says(phase, "cat", "phase") && says(phase, "ph", "X"));
  EXPECT(number(phase, "ts") >= 0 && !json_object_get(phase, "args"));
  const double begin = number(phase, "ts"), end = begin + number(phase, "dur");
  double before = begin;
  for (int i = 0; i < spans_of(r); i++) {
    const json_t *outer = json_array_get(events, (*at)++), *inner = json_array_get(events, (*at)++);
    const double from = number(outer, "ts"), to = from + number(outer, "dur"),
                 within = number(inner, "ts");
    EXPECT(number(outer, "pid") == r && number(inner, "pid") == r);
    EXPECT(says(outer, "cat", "compute") && says(inner, "cat", "wait"));
    EXPECT(number(json_object_get(outer, "args"), "index") == i);
    /* 1e-4: a sum of two decimal fractions of microseconds */
    EXPECT(from >= before - 1e-4 && to <= end + 1e-4);
    EXPECT(within >= from && within + number(inner, "dur") <= to + 1e-4);
    before = to;
  }
}

static void all_ranks_in_one_file(void **state) {
  (void)state;
  text t = {0};
  sb_trace_clock clock;
  sb_trace_totals totals;
  uint64_t expected = 0;
  EXPECT_OK(sb_trace_align(&world, &clock));
  sb_trace_start(SB_TRACE_EVENTS);
  record(spans_of(world.rank));
  sb_trace_stop();
  EXPECT_OK(sb_trace_gather(&world, &clock, append, &t, &totals));
  for (int r = 0; r < world.size; r++) expected += 1 + 2 * (uint64_t)spans_of(r);
  EXPECT(totals.events == expected && totals.dropped == 0);
  if (world.rank == 0) {
    json_error_t error;
    size_t at = 0;
    json_t *root = json_loadb(t.bytes, t.length, JSON_REJECT_DUPLICATES, &error);
    const json_t *events = json_object_get(root, "traceEvents"),
                 *other = json_object_get(root, "otherData");
    if (!root) print_error("%s at byte %d\n", error.text, error.position);
    EXPECT(json_array_size(events) == expected + 2 * (size_t)world.size);
    for (int r = 0; r < world.size; r++) check_rank(events, &at, r);
    EXPECT(number(other, "ranks") == world.size && number(other, "dropped") == 0);
    EXPECT(number(other, "spans") == (double)expected);
    json_decref(root);
  } else {
    EXPECT(t.calls == 0);
  }
  free(t.bytes);
  sb_trace_free();
  all_ranks_passed();
}

static void dropped_spans_are_said(void **state) {
  (void)state;
  text t = {0};
  sb_trace_clock clock = {0};
  sb_trace_totals totals;
  sb_trace_start(16); /* 14 of them for depths beyond 2, but these are not so deep */
  record(20);
  sb_trace_stop();
  EXPECT_OK(sb_trace_gather(&world, &clock, append, &t, &totals));
  EXPECT(totals.events == 16 * (uint64_t)world.size && totals.dropped == 25 * (uint64_t)world.size);
  if (world.rank == 0) {
    json_t *root = json_loadb(t.bytes, t.length, 0, NULL);
    const json_t *label = json_array_get(json_object_get(root, "traceEvents"), 2);
    EXPECT(says(label, "name", "process_labels"));
    EXPECT(says(json_object_get(label, "args"), "labels", "25 spans dropped"));
    json_decref(root);
  }
  free(t.bytes);
  sb_trace_free();
  all_ranks_passed();
}

/* All ranks of this machine have one clock: whatever the measured offset is, it must be within its
 * own uncertainty of 0. With SHARDBITS_RANKS_PER_NODE it is measured, else taken to be 0. */
static void clocks_agree_within_their_uncertainty(void **state) {
  (void)state;
  for (int per_node = 0; per_node <= 2; per_node++) {
    sb_world w;
    sb_trace_clock clock;
    EXPECT_OK(sb_world_describe(per_node, &w));
    EXPECT_OK(sb_trace_align(&w, &clock));
    EXPECT(fabs(clock.offset) <= clock.uncertainty + 1e-9);
    EXPECT(w.node == 0 ? clock.uncertainty == 0 : clock.uncertainty > 0);
    sb_world_release(&w);
  }
  all_ranks_passed();
}

static void a_failing_sink_fails_everywhere(void **state) {
  (void)state;
  for (int call = 1; call <= 3; call++) {
    text t = {.fail_at = call};
    sb_trace_clock clock = {0};
    sb_trace_totals totals;
    sb_trace_start(100);
    record(2);
    sb_trace_stop();
    EXPECT(sb_trace_gather(&world, &clock, append, &t, &totals) == SB_ERR_IO);
    EXPECT(strstr(sb_message(), "the disk is full"));
    if (world.rank == 0) EXPECT(t.calls == call); /* no call after the one that failed */
    free(t.bytes);
    sb_trace_free();
  }
  all_ranks_passed();
}

static const struct CMUnitTest tests[] = {cmocka_unit_test(all_ranks_in_one_file),
                                          cmocka_unit_test(dropped_spans_are_said),
                                          cmocka_unit_test(clocks_agree_within_their_uncertainty),
                                          cmocka_unit_test(a_failing_sink_fails_everywhere)};
RANKS_MAIN(tests)
