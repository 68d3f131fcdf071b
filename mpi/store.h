/* The parameter store: a list of *groups* (a decoder layer, a chunk of the embedding) that no rank holds whole, and that
 * all ranks walk through together, one group after another, with the next one already on its way.
 *
 * A group is an image of consecutive *units* (opaque bytes; to a model, one block row of one tensor). Rank r owns a
 * contiguous run of units, cut so that bytes are balanced to within one unit. An acquired group lies once per node, in
 * an MPI shared window: each rank copies its own units in and receives, for its node, a share of the units of other
 * nodes' ranks. The store knows nothing of models. */
#ifndef SB_MPI_STORE_H
#define SB_MPI_STORE_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "mpi/world.h"

typedef struct sb_store sb_store;

/* Describes one group: the sizes in bytes of its units, in order. */
typedef struct sb_store_group {
  size_t units;
  const size_t *unit_bytes; /* copied */
} sb_store_group;

/* Creates an empty store; the descriptions are equal on all ranks. `slots` groups can be held acquired or in flight at a
 * time on a node (2: one in use, one coming). Collective. Memory: own units + slots x largest group / ranks of the node.
 */
sb_status sb_store_create(const sb_world *world, const sb_store_group *groups, size_t count, int slots, sb_store **out);
/* Collective. */
void sb_store_free(sb_store **store);

/* Units of group g owned by `rank`: [*first, *end). Local. */
void sb_store_owned(const sb_store *store, size_t g, int rank, size_t *first, size_t *end);
/* Byte offset of a unit within its group's image; unit == units gives the size of the image. Local. */
size_t sb_store_offset(const sb_store *store, size_t g, size_t unit);
/* Memory of this rank's own unit, to be filled (or rewritten) by the caller while the group is not acquired or in
 * flight. NULL when the rank does not own it. Local. */
void *sb_store_unit(sb_store *store, size_t g, size_t unit);

/* Starts bringing group g to every node. Collective; returns at once. At most `slots` groups may be in flight or
 * acquired. */
sb_status sb_store_prefetch(sb_store *store, size_t g);
/* Lets messages move while the rank computes; call it between sequences. Local, cheap. */
sb_status sb_store_progress(sb_store *store);
/* The image of group g, complete, readable until it is released; prefetches it first if nobody did. Collective. */
sb_status sb_store_acquire(sb_store *store, size_t g, const void **image);
/* Collective. */
sb_status sb_store_release(sb_store *store, size_t g);

/* Bytes this rank has sent to other nodes, and seconds spent waiting in acquire, so far. Local. */
uint64_t sb_store_bytes_sent(const sb_store *store);
double sb_store_wait_seconds(const sb_store *store);

#endif
