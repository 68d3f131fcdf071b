/* Spans of time: what this process computes and waits for. The recording half of a trace;
 * mpi/trace_gather.h collects the ranks' recordings.
 *
 *   sb_status sb_store_release(sb_store *store, size_t g) {
 *     SB_SPAN(SB_TRACE_WAIT, "send", g);      begins here, ends where the block is left
 *
 * A span can also add its seconds to a variable of the program, whether a trace is recorded or not,
 * so that nothing is timed twice:
 *
 *     SB_SPAN_INTO(&store->waited, SB_TRACE_WAIT, "acquire", g);
 *
 * Spans nest as blocks do. Without a recording, a span costs two readings of the clock (0.04
 * microseconds where that was measured); with one, 0.07 microseconds and 40 bytes. Put spans around
 * a layer or a message, not around a block of weights. All calls are local and made by the main
 * thread; spans of other threads are timed but not recorded.
 *
 * A process has one recording, which no argument carries: the second deliberate exception to "no
 * global state", beside base/cleanup.h and the log's stream. Functions that have nothing but a
 * communicator or a file want spans too, and a pointer handed down everywhere for them would be
 * worse. No result depends on the recording. */
#ifndef SB_BASE_TRACE_H
#define SB_BASE_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

/* The kinds of spans. A phase has a name that users know (reorder, search, round, tune) and
 * contains the other kinds. Its beginning and end are debug lines of the log, too. */
typedef enum sb_trace_category {
  SB_TRACE_PHASE,
  SB_TRACE_COMPUTE,  /* on this rank's device or processors */
  SB_TRACE_GATHER,   /* bringing weights of other ranks */
  SB_TRACE_WAIT,     /* for other ranks, with nothing to do meanwhile */
  SB_TRACE_EXCHANGE, /* sums and other collective messages */
  SB_TRACE_DISK,
  SB_TRACE_CATEGORIES
} sb_trace_category;

/* "phase", "compute", "gather", ...: as they stand in the file. */
extern const char *const sb_trace_category_names[SB_TRACE_CATEGORIES];

enum {
  SB_TRACE_EVENTS = 1 << 20, /* most spans that are kept: 40 MiB */
  SB_TRACE_DEPTH = 64,       /* most spans within one another */
  SB_TRACE_NONE = -1         /* in place of an index */
};

/* A span that is over. Seconds are those of sb_now(). */
typedef struct sb_trace_event {
  double begin, end;
  const char *name;        /* of static storage */
  int64_t index;           /* of the layer, the group, the step; or SB_TRACE_NONE */
  int16_t category, depth; /* depth 0: within no other */
} sb_trace_event;

/* Keeps spans from here on, at most `most` of them. The last eighth of the places is for spans of
 * depth 0 to 2, so that phases survive when details do not. Earlier recordings are forgotten.
 * Memory grows with the number of spans. */
void sb_trace_start(size_t most);
/* Ends all open spans and keeps no more. The kept ones stay until
 * sb_trace_start or sb_trace_free. */
void sb_trace_stop(void);
void sb_trace_free(void);
bool sb_trace_is_on(void);

/* The recorded spans, in the order in which they began, so parents before children; and the number
 * of spans that found no place or no memory. */
size_t sb_trace_count(void);
const sb_trace_event *sb_trace_at(size_t i);
uint64_t sb_trace_dropped(void);
/* When recording began, by sb_now(). */
double sb_trace_begun(void);

/* ---- spans: through the macros ---- */

typedef struct sb_span {
  double begin;
  double *seconds;  /* NULL: nobody asks */
  const char *name; /* of a phase that the log has a debug line for; else NULL */
  int depth;        /* among the open ones; -1: not recorded */
  int phase;        /* in the table of phases (base/phases.h); -1: not there */
} sb_span;

sb_span sb_span_begin(sb_trace_category category, const char *name, int64_t index, double *seconds);
/* A phase, which base/phases.h counts too. */
sb_span sb_phase_begin(const char *name);
/* Also ends spans within it that are still open, as after an error. A second call does nothing. */
void sb_span_end(sb_span *span);

#define SB_SPAN_JOIN_(a, b) a##b
#define SB_SPAN_NAME_(line) SB_SPAN_JOIN_(sb_span_, line)

/* A span from here to the end of the block. Goes before any goto of the block. */
#define SB_SPAN(category, name, index) SB_SPAN_INTO(NULL, category, name, index)
#define SB_SPAN_INTO(seconds, category, name, index)                                               \
  sb_span SB_SPAN_NAME_(__LINE__) __attribute__((cleanup(sb_span_end), unused)) =                  \
      sb_span_begin((category), (name), (int64_t)(index), (seconds))

/* A phase of that name from here to the end of the block, as a variable that can be asked how long
 * it has lasted: for the line of sb_log_phase. */
#define SB_PHASE(variable, name)                                                                   \
  sb_span variable __attribute__((cleanup(sb_span_end), unused)) = sb_phase_begin(name)
double sb_span_seconds(const sb_span *span);

#endif
