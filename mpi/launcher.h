/* What the environment says of the processes that a launcher started, and whether MPI sees them.
 *
 * A program started by srun without the plugin of its MPI library, or by another library's mpirun,
 * may not fail: each process becomes a world of one, and all do the same work into the same files.
 * (Others fail: Open MPI by a page of text from each process.) The launchers' variables tell. In a
 * batch script, or a shell of salloc, SLURM_NTASKS says how many tasks a launcher would start;
 * nobody has started them there, so a program that runs alone may well be meant to. */
#ifndef SB_MPI_LAUNCHER_H
#define SB_MPI_LAUNCHER_H

#include <stdbool.h>

#include "base/status.h"

typedef struct sb_launcher {
  const char *said; /* variable that tells of other processes; NULL: none does */
  int tasks;        /* their number; 0 where only this one's number is known */
  int task;         /* this one's number; 0 where unknown */
  bool unjoined;    /* several tasks of Slurm, and no plugin that an MPI library could ask */
  int unstarted;    /* tasks of a job that no launcher has started; else 0 */
} sb_launcher;

/* Reads the environment. To be called before MPI starts: MPI libraries set such variables too. With
 * SHARDBITS_ALONE=1 nothing is said. Local. */
sb_launcher sb_launcher_read(void);
/* SB_ERR_MPI with the way out, where MPI sees `ranks`, one, and a launcher started more. Before MPI
 * starts `ranks` is 0: then only where it cannot join them (unjoined). Pure. */
sb_status sb_launcher_check(const sb_launcher *launcher, int ranks);

#endif
