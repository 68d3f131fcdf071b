/* Times work on all ranks at once. */
#ifndef SB_MEASURE_TIMING_H
#define SB_MEASURE_TIMING_H

#include "base/status.h"
#include "mpi/world.h"

/* Does the work once, to its end. May be collective. */
typedef sb_status sb_timed(void *context);

/* *seconds = the time of one call, the least of `rounds` rounds. In a round all ranks begin
 * together and the slowest counts; calls shorter than 10 ms are repeated. One call comes before, to
 * warm up. `world` NULL: this rank alone, local. Else collective; all ranks fail together. */
sb_status sb_time_best(const sb_world *world, int rounds, sb_timed *work, void *context,
                       double *seconds);

#endif
