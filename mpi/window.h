/* Memory that the ranks of one node share, and the point at which they see each other's writes. */
#ifndef SB_MPI_WINDOW_H
#define SB_MPI_WINDOW_H

#include <mpi.h>
#include <stddef.h>

#include "base/status.h"
#include "mpi/world.h"

typedef struct sb_window {
  MPI_Win win;
  MPI_Comm comm; /* the node's ranks; a duplicate */
  int size;      /* of comm */
  char *base; /* the same bytes on all ranks of the node, at possibly different addresses; 64-byte
                 aligned */
} sb_window;

/* One window of `bytes` bytes per node, through MPI_Win_allocate_shared. Collective over the world:
 * all ranks succeed or fail together. SB_ERR_MEMORY when a node's shared memory is too small. */
sb_status sb_window_create(const sb_world *world, size_t bytes, sb_window *out);
void sb_window_free(sb_window *window);

/* A barrier of the node. Writes of its ranks before the barrier are visible to all of them after
 * it, and bytes read before it may be overwritten after it. Collective over the node. */
sb_status sb_window_sync(sb_window *window);

#endif
