#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "mpi/cleanup.h"
#include "mpi/world.h"

enum { TEXT = 1700 };

/* What the lowest failing rank tells the others. */
typedef struct verdict {
  int status;
  char message[TEXT];
  char host[256];
} verdict;

static void copy_text(char *to, size_t room, const char *from) {
  size_t length = strnlen(from, room - 1);
  memcpy(to, from, length);
  to[length] = 0;
}

void sb_world_lockstep(const sb_world *world) {
  *world->lockstep = true;
}

static void end_job(const sb_world *world) {
  fprintf(stderr, "shardbits: %s (rank %d on %s)\n", sb_message(), world->rank, world->host);
  sb_cleanup_now();
  MPI_Abort(world->comm, 1);
}

sb_status sb_world_agree(const sb_world *world, sb_status mine) {
  const int bid = mine == SB_OK ? INT_MAX : world->rank;
  int lowest = INT_MAX, alike, all_alike = 0;
  verdict told;
  if (world->size == 1) return mine;
  if (mine == SB_ERR_DEVICE && *world->lockstep) end_job(world);
  SB_MPI(MPI_Allreduce(&bid, &lowest, 1, MPI_INT, MPI_MIN, world->comm));
  if (lowest == INT_MAX) return SB_OK;

  memset(&told, 0, sizeof told);
  told.status = (int)mine;
  copy_text(told.message, sizeof told.message, sb_message());
  copy_text(told.host, sizeof told.host, world->host);
  SB_MPI(MPI_Bcast(&told, (int)sizeof told, MPI_BYTE, lowest, world->comm));
  alike = (int)mine == told.status && strncmp(told.message, sb_message(), sizeof told.message - 1) == 0;
  SB_MPI(MPI_Allreduce(&alike, &all_alike, 1, MPI_INT, MPI_LAND, world->comm));
  if (all_alike) return mine;
  return sb_fail((sb_status)told.status, "%s (rank %d on %s)", told.message, lowest, told.host);
}
