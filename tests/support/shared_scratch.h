/* A scratch folder that all ranks of a test share. */
#ifndef SB_TESTS_SUPPORT_SHARED_SCRATCH_H
#define SB_TESTS_SUPPORT_SHARED_SCRATCH_H

#include "tests/support/ranks.h"
#include "tests/support/scratch.h"

/* Collective. */
static inline void scratch_begin(void) {
  if (world.rank == 0) EXPECT(scratch_create());
  EXPECT(MPI_Bcast(scratch, (int)sizeof scratch, MPI_CHAR, 0, world.comm) == MPI_SUCCESS);
}
/* Collective: waits until no rank uses the folder. */
static inline void scratch_end(void) {
  EXPECT(MPI_Barrier(world.comm) == MPI_SUCCESS);
  if (world.rank == 0) EXPECT(scratch_remove());
}

#endif
