/* The number of threads of a rank. */
#ifndef SB_CLI_THREADS_H
#define SB_CLI_THREADS_H

#include "mpi/world.h"

/* Chooses *threads if it is 0: OMP_NUM_THREADS if that is set; else the processors that this rank
 * may run on (its affinity, the quota of its container) divided by the ranks of the node that share
 * some of them, at least 1. Then tells OpenMP. Collective. */
sb_status sb_threads_settle(const sb_world *world, int *threads);

/* A cgroup cpu.max line ("200000 100000", "max 100000") as whole processors, rounded up; 0 for no
 * limit or nonsense. Pure. */
int sb_threads_quota(const char *line);

#endif
