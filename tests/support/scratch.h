/* A scratch folder that all ranks of a test share. Include after tests/support/ranks.h. */
#ifndef SB_TESTS_SUPPORT_SCRATCH_H
#define SB_TESTS_SUPPORT_SCRATCH_H

#include <unistd.h>

static char scratch[512];

/* Collective. */
static inline void scratch_begin(void) {
  const char *base = getenv("TMPDIR");
  snprintf(scratch, sizeof scratch, "%s/sb-model-XXXXXX", base && *base ? base : "/tmp");
  if (world.rank == 0) EXPECT(mkdtemp(scratch) != NULL);
  EXPECT(MPI_Bcast(scratch, (int)sizeof scratch, MPI_CHAR, 0, world.comm) == MPI_SUCCESS);
}
/* Collective. */
static inline void scratch_end(void) {
  char command[600];
  snprintf(command, sizeof command, "rm -rf '%s'", scratch);
  EXPECT(MPI_Barrier(world.comm) == MPI_SUCCESS);
  if (world.rank == 0) EXPECT(system(command) == 0);
}
/* Path of `name` in it; a few results stay valid at a time. */
static inline const char *scratch_path(const char *name) {
  static char paths[8][1024];
  static int next;
  char *path = paths[next++ % 8];
  snprintf(path, sizeof paths[0], "%s/%s", scratch, name);
  return path;
}

#endif
