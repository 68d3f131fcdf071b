#include "cli/threads.h"

#include <math.h>
#include <omp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/memory.h"
#include "base/text.h"

int sb_threads_quota(const char *line) {
  double quota, period;
  if (sscanf(line, "%lf %lf", &quota, &period) != 2 || !(quota > 0.0 && period > 0.0)) return 0;
  double processors = ceil(quota / period);
  return processors < 1e6 ? (int)processors : 0;
}

static int container_quota(void) {
  char line[64] = "";
  FILE *file = fopen("/sys/fs/cgroup/cpu.max", "r");
  if (!file) return 0;
  if (!fgets(line, sizeof line, file)) line[0] = 0;
  fclose(file);
  return sb_threads_quota(line);
}

/* Processors of `mine`, over the number of ranks whose sets meet it. */
static sb_status fair_share(const sb_world *world, int *out) {
  cpu_set_t mine, *all = NULL;
  CPU_ZERO(&mine);
  if (sched_getaffinity(0, sizeof mine, &mine) !=
      0) { /* more processors than a cpu_set_t holds: be modest */
    for (int i = 0; i < world->node_size; i++) CPU_SET(i, &mine);
  }
  sb_status status = SB_OK;
  SB_GO_AGREE(world,
              sb_alloc(&all, (size_t)world->node_size, sizeof *all, "processor sets of the node"));
  SB_GO(sb_mpi_check(MPI_Allgather(&mine, (int)sizeof mine, MPI_BYTE, all, (int)sizeof mine,
                                   MPI_BYTE, world->node_comm),
                     "exchange of processor sets"));
  int sharing = 0, quota = container_quota();
  for (int i = 0; i < world->node_size; i++) {
    cpu_set_t both;
    CPU_AND(&both, &mine, &all[i]);
    if (CPU_COUNT(&both) > 0) sharing++;
  }
  *out = CPU_COUNT(&mine) / (sharing > 0 ? sharing : 1);
  if (quota > 0 && *out > quota / world->node_size) *out = quota / world->node_size;
  if (*out < 1) *out = 1;
done:
  sb_free(&all);
  return status;
}

sb_status sb_threads_settle(const sb_world *world, int *threads) {
  int share = 1;
  SB_TRY(fair_share(world, &share)); /* before the choice: it is collective */
  const char *environment = getenv("OMP_NUM_THREADS");
  if (*threads == 0) *threads = environment && atoi(environment) > 0 ? atoi(environment) : share;
  omp_set_num_threads(*threads);
  sb_log_debug("device", "%d thread%s; this rank's share of the node's processors is %d", *threads,
               sb_text_s(*threads), share);
  return SB_OK;
}
