#include "base/trace.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/phases.h"

enum {
  CHUNK = 1 << 13, /* events that memory is taken for at a time: 320 KiB */
  CHUNKS = SB_TRACE_EVENTS / CHUNK,
  SHALLOW = 2 /* depth up to which spans may use the last places */
};

const char *const sb_trace_category_names[SB_TRACE_CATEGORIES] = {
    [SB_TRACE_PHASE] = "phase", [SB_TRACE_COMPUTE] = "compute",   [SB_TRACE_GATHER] = "gather",
    [SB_TRACE_WAIT] = "wait",   [SB_TRACE_EXCHANGE] = "exchange", [SB_TRACE_DISK] = "disk"};

/* Set on the one thread that records. Others go through the same functions in parallel regions. */
static _Thread_local bool recording;

static struct {
  double begun;
  size_t most, count;
  uint64_t dropped;
  sb_trace_event *chunks[CHUNKS];       /* kept for the next recording too */
  int depth;                            /* number of open spans */
  sb_trace_event *open[SB_TRACE_DEPTH]; /* NULL: dropped */
} trace;

void sb_trace_start(size_t most) {
  trace.most = sb_min_size(most, SB_TRACE_EVENTS);
  trace.count = 0;
  trace.dropped = 0;
  trace.depth = 0;
  trace.begun = sb_now();
  recording = true;
}

bool sb_trace_is_on(void) {
  return recording;
}

size_t sb_trace_count(void) {
  return trace.count;
}

const sb_trace_event *sb_trace_at(size_t i) {
  return &trace.chunks[i / CHUNK][i % CHUNK];
}

uint64_t sb_trace_dropped(void) {
  return trace.dropped;
}

double sb_trace_begun(void) {
  return trace.begun;
}

/* A place for a span that begins now, so that events lie in the order of their beginnings, parents
 * before their children. NULL where none is left. */
static sb_trace_event *take_place(int depth) {
  const size_t places = depth <= SHALLOW ? trace.most : trace.most - trace.most / 8;
  if (trace.count >= places) return NULL;
  sb_trace_event **chunk = &trace.chunks[trace.count / CHUNK];
  /* malloc, not sb_alloc: a trace that ends early is no failure, and must not take the place of a
   * message about one. */
  if (!*chunk) *chunk = malloc(CHUNK * sizeof **chunk);
  return *chunk ? &(*chunk)[trace.count++ % CHUNK] : NULL;
}

static void close_down_to(int depth, double now) {
  while (trace.depth > depth) {
    sb_trace_event *event = trace.open[--trace.depth];
    if (event) event->end = now;
  }
}

void sb_trace_stop(void) {
  if (recording) close_down_to(0, sb_now());
  recording = false;
}

void sb_trace_free(void) {
  recording = false;
  trace.count = 0;
  trace.depth = 0;
  for (size_t i = 0; i < CHUNKS; i++) {
    free(trace.chunks[i]);
    trace.chunks[i] = NULL;
  }
}

static void log_begin(const char *name, int64_t index) {
  if (index == SB_TRACE_NONE)
    sb_log_debug("phase", "%s begins", name);
  else
    sb_log_debug("phase", "%s %lld begins", name, (long long)index);
}

sb_span sb_span_begin(sb_trace_category category, const char *name, int64_t index,
                      double *seconds) {
  sb_span span = {.begin = sb_now(), .seconds = seconds, .depth = -1, .phase = -1};
  if (category == SB_TRACE_PHASE && sb_log_debugs()) {
    span.name = name;
    log_begin(name, index);
  }
  if (!recording) return span;
  sb_trace_event *event = trace.depth < SB_TRACE_DEPTH ? take_place(trace.depth) : NULL;
  if (event)
    *event = (sb_trace_event){.begin = span.begin,
                              .end = span.begin,
                              .name = name,
                              .index = index,
                              .category = (int16_t)category,
                              .depth = (int16_t)trace.depth};
  else
    trace.dropped++;
  if (trace.depth < SB_TRACE_DEPTH) {
    span.depth = trace.depth++;
    trace.open[span.depth] = event;
  }
  return span;
}

sb_span sb_phase_begin(const char *name) {
  sb_span span = sb_span_begin(SB_TRACE_PHASE, name, SB_TRACE_NONE, NULL);
  span.phase = sb_phases_begin(name, span.begin);
  return span;
}

void sb_span_end(sb_span *span) {
  const double now = sb_now();
  if (span->name) sb_log_debug("phase", "%s ends after %.3f s", span->name, now - span->begin);
  span->name = NULL;
  if (span->seconds) *span->seconds += now - span->begin;
  span->seconds = NULL;
  sb_phases_end(span->phase, now);
  span->phase = -1;
  if (recording && span->depth >= 0) close_down_to(span->depth, now);
  span->depth = -1;
}

double sb_span_seconds(const sb_span *span) {
  return sb_now() - span->begin;
}
