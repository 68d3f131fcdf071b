#include "mpi/launcher.h"

#include <limits.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* The numbers of processes and of this one, the innermost launcher first: of Open MPI, of PMI
 * (MPICH, Intel MPI, Slurm's --mpi=pmi2), of MVAPICH, Flux, JSM; then of a step of Slurm. */
static const char *const sizes[] = {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE",
                                    "MV2_COMM_WORLD_SIZE",  "FLUX_JOB_SIZE",
                                    "JSM_NAMESPACE_SIZE",   "SLURM_STEP_NUM_TASKS"};
static const char *const ranks_of[] = {"OMPI_COMM_WORLD_RANK", "PMIX_RANK",   "PMI_RANK",
                                       "MV2_COMM_WORLD_RANK",  "PALS_RANKID", "FLUX_TASK_RANK",
                                       "JSM_NAMESPACE_RANK",   "SLURM_PROCID"};
enum { SIZES = sizeof sizes / sizeof *sizes, RANKS = sizeof ranks_of / sizeof *ranks_of };

/* A whole number from 0 in variable `name`; -1 for anything else. */
static int number(const char *name) {
  const char *text = getenv(name);
  char *end;
  if (!text || text[0] < '0' || text[0] > '9') return -1;
  const long value = strtol(text, &end, 10);
  return *end || value > INT_MAX ? -1 : (int)value;
}

/* The first variable that has a number; NULL where none has. */
static const char *first(const char *const *names, int count, int *value) {
  for (int i = 0; i < count; i++)
    if ((*value = number(names[i])) >= 0) return names[i];
  *value = 0;
  return NULL;
}

sb_launcher sb_launcher_read(void) {
  sb_launcher l = {.said = NULL};
  const char *alone = getenv("SHARDBITS_ALONE");
  if (alone && strcmp(alone, "1") == 0) return l;
  const char *size = first(sizes, SIZES, &l.tasks), *rank = first(ranks_of, RANKS, &l.task);
  if (l.tasks > 1) {
    l.said = size;
    l.unjoined =
        strcmp(size, "SLURM_STEP_NUM_TASKS") == 0 && rank && strcmp(rank, "SLURM_PROCID") == 0;
  }
  if (!size && l.task > 0)
    l.said = rank;
  else if (!size && !getenv("SLURM_STEP_ID") && number("SLURM_NTASKS") > 1)
    l.unstarted = number("SLURM_NTASKS");
  return l;
}

sb_status sb_launcher_check(const sb_launcher *l, int ranks) {
  if (ranks > 1 || !l->said || (ranks == 0 && !l->unjoined)) return SB_OK;
  return sb_fail(
      SB_ERR_MPI,
      "%s=%d says that more processes were started, but MPI does not join them; start "
      "them with srun --mpi=pmix or mpirun, or set SHARDBITS_ALONE=1 for runs of their own",
      l->said, l->tasks > 1 ? l->tasks : l->task);
}
