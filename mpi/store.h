/* The parameter store: a list of *groups* (a decoder layer, a chunk of the embedding) that no rank
 * holds whole. All ranks walk through it together, group after group; the next group is already on
 * its way while they compute. The store knows nothing of models.
 *
 * A group is an image of consecutive *units*: opaque bytes, to a model one block row of one tensor.
 * Rank r owns a contiguous run of units, cut so that bytes are balanced to within one unit
 * (mpi/layout.h). Units lie in the image without gaps, at their prefix sums; the image begins at a
 * multiple of 64 bytes.
 *
 * An acquired group lies once per node, in an MPI shared window. Each rank copies its own units
 * into its node's window. It also sends them to one rank of every other node, straight into that
 * node's window: the rank whose number within its node is r modulo that node's size. So a group
 * crosses the network once per node, and the ranks of a node share the work of receiving it.
 *
 * "Collective" here means: all ranks make the same sequence of calls to prefetch, acquire, release.
 * The ranks of a node wait for each other in acquire (a barrier, once their parts are there), not
 * in release: a slot is refilled only after a barrier that follows its release. In the usual walk,
 *
 *   acquire(g), prefetch(g + 1), ..., release(g), acquire(g + 1), prefetch(g + 2)
 *
 * that is the barrier of acquire(g + 1), and costs nothing. A prefetch into a slot that was
 * released since the node's last barrier makes one of its own. With one rank in the world nothing
 * is copied: an image is the rank's own memory. */
#ifndef SB_MPI_STORE_H
#define SB_MPI_STORE_H

#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "base/status.h"
#include "mpi/layout.h"
#include "mpi/world.h"

typedef struct sb_store sb_store;

/* True for a store that holds its invariants: cuts and offsets ascend, every slot is in a state
 * that its holders, messages and memory agree with, no group is in two slots. `flaw` says which one
 * does not hold. Local. O(units + ranks x groups). */
bool sb_store_is_valid(const sb_store *store, sb_flaw *flaw);

/* Creates an empty store; the descriptions and `slots` are equal on all ranks (checked:
 * SB_ERR_INTERNAL). A node has room for `slots` groups that are held or under way (2: one in use,
 * one coming). The world must outlive the store. Collective; all ranks succeed or fail together.
 * Memory: own units (not touched until they are filled) and, once per node, slots x largest group;
 * O(units + ranks x groups) for the description. SB_ERR_MEMORY when either does not fit. */
sb_status sb_store_create(const sb_world *world, const sb_store_group *groups, size_t count,
                          int slots, sb_store **out);
/* Collective; waits for groups in flight. */
void sb_store_free(sb_store **store);

/* Units of group g owned by `rank`: [*first, *end). Local. */
void sb_store_owned(const sb_store *store, size_t g, int rank, size_t *first, size_t *end);
/* Byte offset of a unit within its group's image; unit == units gives the size
 * of the image. Local. */
size_t sb_store_offset(const sb_store *store, size_t g, size_t unit);
/* Memory of this rank's own unit, for the caller to fill or rewrite while the group is neither
 * acquired nor in flight. The next prefetch brings the new bytes to all. Own units of a group
 * follow one another. NULL when the rank does not own it. Local. */
void *sb_store_unit(sb_store *store, size_t g, size_t unit);

/* Starts bringing group g to every node; does nothing when it is held or on its way already.
 * Collective; returns when own units are copied and messages posted. SB_ERR_INTERNAL when all slots
 * are taken. */
sb_status sb_store_prefetch(sb_store *store, size_t g);
/* Lets messages move while the rank computes; call it between sequences. Local, cheap. */
sb_status sb_store_progress(sb_store *store);
/* The image of group g, complete, readable until it is released; prefetches it first if nobody did.
 * A group may be acquired again while it is held, and is then released as often. Collective. */
sb_status sb_store_acquire(sb_store *store, size_t g, const void **image);
/* Collective; waits until this rank's units have left for the other nodes. SB_ERR_INTERNAL for a
 * group not held. */
sb_status sb_store_release(sb_store *store, size_t g);

/* Gives back all groups, held or under way: for work that goes on with the store after a walk was
 * cut off by a failure that all ranks have agreed on. Waits for messages in flight. Collective. */
sb_status sb_store_give_back(sb_store *store);

/* The memory that images lie in, on this rank: the node's window, or with one rank in the world the
 * rank's own units. There until the store is freed. Local. */
void sb_store_images(const sb_store *store, void **memory, size_t *bytes);

/* Bytes this rank has sent to other nodes (own bytes x other nodes, each time a group is brought),
 * and seconds spent waiting in acquire and release, so far. Local. */
uint64_t sb_store_bytes_sent(const sb_store *store);
double sb_store_wait_seconds(const sb_store *store);

#endif
