/* The ranks' recordings (base/trace.h) as one trace in Chrome's trace-event format, which Perfetto
 * (ui.perfetto.dev) and chrome://tracing open. A rank is a process, named with its host. Its spans
 * are complete events ("ph": "X") with their category and, if they have one, their index.
 *
 * Times are microseconds since the first rank began to record, by the clock of rank 0. Nodes have
 * clocks of their own, which sb_trace_align compares. Clocks that drift apart afterwards (some
 * microseconds per second without a common time source) do so in the trace, too.
 *
 * Format: "Trace Event Format", the description of the Catapult project. */
#ifndef SB_MPI_TRACE_GATHER_H
#define SB_MPI_TRACE_GATHER_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "mpi/world.h"

typedef struct sb_trace_clock {
  double offset;      /* seconds to add to sb_now() of this rank to get that of rank 0 */
  double uncertainty; /* the true offset is at most this far from it: half a round trip */
} sb_trace_clock;

/* Compares the clock of every node with that of rank 0: the fastest of 16 round trips counts.
 * Collective. O(nodes) messages of rank 0, some 0.2 ms per node. */
sb_status sb_trace_align(const sb_world *world, sb_trace_clock *clock);

/* Takes a piece of the trace's text; called on rank 0 only, in order. */
typedef sb_status (*sb_trace_sink)(void *context, const char *text, size_t bytes);

typedef struct sb_trace_totals {
  uint64_t events, dropped; /* of all ranks */
  double uncertainty;       /* the largest of all ranks' clocks */
} sb_trace_totals;

/* Hands the recordings of all ranks to rank 0's sink, rank after rank; *totals on every rank. If
 * the sink fails, all ranks fail. Collective, after sb_trace_stop. Memory: 2 pieces of 256 KiB. */
sb_status sb_trace_gather(const sb_world *world, const sb_trace_clock *clock, sb_trace_sink sink,
                          void *context, sb_trace_totals *totals);

#endif
