#include "measure/timing.h"

#include <math.h>

#include "base/clock.h"

enum { MOST_CALLS = 1000 };
#define LEAST_SECONDS 0.01

static sb_status agree(const sb_world *world, sb_status status) {
  return world ? sb_world_agree(world, status) : status;
}

static sb_status slowest(const sb_world *world, double *seconds) {
  if (world) SB_MPI(MPI_Allreduce(MPI_IN_PLACE, seconds, 1, MPI_DOUBLE, MPI_MAX, world->comm));
  return SB_OK;
}

/* `calls` calls, and what all of them took the slowest rank. */
static sb_status run_round(const sb_world *world, int calls, sb_timed *work, void *context,
                           double *seconds) {
  sb_status status = SB_OK;
  if (world) SB_MPI(MPI_Barrier(world->comm));
  const double start = sb_now();
  for (int call = 0; call < calls && status == SB_OK; call++) status = work(context);
  *seconds = sb_now() - start;
  SB_TRY(agree(world, status));
  return slowest(world, seconds);
}

sb_status sb_time_best(const sb_world *world, int rounds, sb_timed *work, void *context,
                       double *seconds) {
  double once, round;
  SB_TRY(run_round(world, 1, work, context, &once)); /* touches memory for the first time */
  SB_TRY(run_round(world, 1, work, context, &once));
  const double wanted = ceil(LEAST_SECONDS / fmax(once, LEAST_SECONDS / MOST_CALLS));
  const int calls = once < LEAST_SECONDS ? (int)wanted : 1;
  *seconds = INFINITY;
  for (int k = 0; k < rounds; k++) {
    SB_TRY(run_round(world, calls, work, context, &round));
    *seconds = fmin(*seconds, round / calls);
  }
  return SB_OK;
}
