/* The world: this process's rank and node, and how ranks agree.
 *
 * A process is a rank. The world owns the communicators; it is created once in main()
 * and handed down.
 *
 * A node is a set of ranks that can share memory. For tests of the multi-node paths on one machine,
 * the environment variable SHARDBITS_RANKS_PER_NODE=N cuts every real node into runs of N
 * consecutive ranks (the last run may be shorter), and each run counts as a node of its own. */
#ifndef SB_MPI_WORLD_H
#define SB_MPI_WORLD_H

#include <mpi.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"

typedef struct sb_world {
  MPI_Comm comm; /* a duplicate of MPI_COMM_WORLD; errors return */
  int rank, size;
  MPI_Comm node_comm; /* the ranks that share memory with this one, in the order of their ranks;
                         errors return */
  int node_rank, node_size;
  int node, nodes;   /* index of this rank's node (by its lowest rank) and their number */
  int *node_of;      /* [size] node index of every rank */
  int *node_rank_of; /* [size] rank within its node of every rank */
  int *node_sizes;   /* [nodes] */
  int unstarted; /* tasks of the batch job that this process runs in, where it was started alone and
                    they are more than one; else 0 (mpi/launcher.h) */
  char host[256];
  bool *lockstep; /* sb_world_lockstep */
} sb_world;

/* Starts MPI (thread level FUNNELED: only the main thread calls MPI) and describes the world, with
 * SHARDBITS_RANKS_PER_NODE applied. Works without mpirun too, as a world of one. Collective over
 * all processes. SB_ERR_USAGE for a SHARDBITS_RANKS_PER_NODE that is not a positive number.
 * SB_ERR_MPI where a launcher started several processes and each is a world of its own
 * (mpi/launcher.h): `rank` is the task's number then, so that one of them speaks. O(ranks) memory.
 */
sb_status sb_world_init(int *argc, char ***argv, sb_world *out);
/* Ends MPI. Collective; call only when all ranks have agreed to. */
void sb_world_finalize(sb_world *world);

/* The two halves of the above for programs that start MPI themselves. sb_world_describe describes
 * the world, with nodes of at most ranks_per_node ranks (0: real nodes); sb_world_release releases
 * the description. Collective. */
sb_status sb_world_describe(int ranks_per_node, sb_world *out);
void sb_world_release(sb_world *world);

/* Agrees on success: SB_OK on every rank if every rank passed SB_OK. Otherwise every rank returns
 * the status of the lowest failing rank, and its message becomes the message of all (sb_message). "
 * (rank R on HOST)" is appended where more than one rank runs and not all failed alike (same
 * status, same message). Agreeing again on an agreed failure changes nothing. Costs one all-reduce
 * of an int while all is well. Collective. */
sb_status sb_world_agree(const sb_world *world, sb_status mine);

/* The same for functions that have a communicator only; the message gets " (rank R)" of `comm`.
 * Collective over comm. */
sb_status sb_comm_agree(MPI_Comm comm, sb_status mine);

/* Waits, asleep most of the time, until every rank has come here: for work that one rank does while
 * its processors are wanted. The last one
 * wakes the others some 10 ms late for each doubling of ranks. Collective. */
sb_status sb_world_rest(const sb_world *world);

/* *out_pointer = an object of `size` bytes, zeroed, on every rank, or NULL on every rank and a
 * failure. Release with sb_free. Collective. */
sb_status sb_world_alloc(const sb_world *world, void *out_pointer, size_t size, const char *what);

/* From here on devices of different ranks wait for each other by themselves. A rank whose device
 * has failed (SB_ERR_DEVICE) then must not wait for the others' agreement, because they may be
 * waiting for its device. Instead sb_world_agree prints its line, removes unfinished files
 * (base/cleanup.h) and ends the job on all ranks with exit code 1. Local. */
void sb_world_lockstep(const sb_world *world);

/* Agreement as a statement: returns the agreed failure from the calling function. Collective. */
#define SB_AGREE(world, call)                                                                      \
  do {                                                                                             \
    sb_status sb_agree_status_ = sb_world_agree((world), (call));                                  \
    if (sb_agree_status_ != SB_OK) return sb_agree_status_;                                        \
  } while (0)

/* The same for functions that release what they hold at the label `done` (SB_GO of base/status.h):
 * the local `status` is the agreed one. Collective. */
#define SB_GO_AGREE(world, call) SB_GO(sb_world_agree((world), (call)))

/* SB_OK for MPI_SUCCESS, else SB_ERR_MPI with `what` and MPI's own text. Local. */
sb_status sb_mpi_check(int mpi_code, const char *what);
#define SB_MPI(call) SB_TRY(sb_mpi_check((call), #call))

#endif
