/* Seeing inside a run: the environment variables SHARDBITS_LOG and SHARDBITS_TRACE.
 *
 * SHARDBITS_LOG=info | debug | debug:all | debug:0,4-7 chooses the ranks that write lines for
 * developers (base/log.h). SHARDBITS_TRACE=FILE records what every rank does and waits for
 * (base/trace.h). Rank 0 writes the trace to FILE at the end of the run, after an error too. A run
 * that is killed, or ended by a device that fails in lockstep (mpi/world.h), writes none.
 *
 * The environment of rank 0 counts: launchers need not pass the variables on to other nodes. */
#ifndef SB_CLI_OBSERVE_H
#define SB_CLI_OBSERVE_H

#include <stdbool.h>

#include "base/status.h"
#include "io/atomic.h"
#include "mpi/trace_gather.h"
#include "mpi/world.h"

typedef struct sb_observer {
  bool traces;
  char path[SB_PATH_MAX]; /* of the trace; absolute on rank 0 */
  sb_trace_clock clock;
} sb_observer;

/* Reads the two variables and begins. SB_ERR_USAGE for a SHARDBITS_LOG that is not one of the
 * above; SB_ERR_IO for a FILE that could not be written later, or that the command line names.
 * Collective. */
sb_status sb_observe_begin(const sb_world *world, int argc, char **argv, sb_observer *out);
/* Writes the trace, if one was asked for. Collective. */
sb_status sb_observe_end(const sb_world *world, sb_observer *observer);

#endif
