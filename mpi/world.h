/* The world: which rank this is, on which node, and how ranks agree.
 *
 * One process is one rank. The world owns the communicators; it is created once in main() and handed down. */
#ifndef SB_MPI_WORLD_H
#define SB_MPI_WORLD_H

#include <mpi.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"

typedef struct sb_world {
  MPI_Comm comm;      /* a duplicate of MPI_COMM_WORLD; errors return */
  int rank, size;
  MPI_Comm node_comm; /* the ranks that share memory with this one */
  int node_rank, node_size;
  int node, nodes;    /* index of this rank's node (by its lowest rank) and their number */
  int *node_of;       /* [size] node index of every rank */
  int *node_rank_of;  /* [size] rank within its node of every rank */
  int *node_sizes;    /* [nodes] */
  char host[256];
} sb_world;

/* Starts MPI (thread level FUNNELED) and describes the world. Collective over all processes. */
sb_status sb_world_init(int *argc, char ***argv, sb_world *out);
/* Ends MPI. Collective; call only when all ranks have agreed to. */
void sb_world_finalize(sb_world *world);

/* Collective agreement on success: returns SB_OK on every rank if every rank passed SB_OK; else every rank returns the
 * status of the lowest failing rank, and that rank's message is the message of all (sb_message), with " (rank R on
 * HOST)" appended where more than one rank runs and not all ranks failed alike. Costs one all-reduce of an int. */
sb_status sb_world_agree(const sb_world *world, sb_status mine);

/* Agreement as a statement: returns the agreed failure from the calling function. Collective. */
#define SB_AGREE(world, call)                                                                                          \
  do {                                                                                                                 \
    sb_status sb_agree_status_ = sb_world_agree((world), (call));                                                      \
    if (sb_agree_status_ != SB_OK) return sb_agree_status_;                                                            \
  } while (0)

/* SB_OK for MPI_SUCCESS, else SB_ERR_MPI with MPI's own text and `what`. Local. */
sb_status sb_mpi_check(int mpi_code, const char *what);
#define SB_MPI(call) SB_TRY(sb_mpi_check((call), #call))

#endif
