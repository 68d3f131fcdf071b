/* Exchange between devices of several processes, without their hosts.
 *
 * peers_join makes a group of devices, one per process. "Collective" here means that all processes
 * of the group call, in the same order on their streams. Devices wait for each other inside such a
 * call: a process must not enter unless all others do (mpi/world.h: sb_world_lockstep). */
#ifndef SB_KERNELS_OPS_PEERS_H
#define SB_KERNELS_OPS_PEERS_H

#include "kernels/ops/common.h"

#define SB_PEERS_OPS(OP)                                                                           \
  OP(peers_token)                                                                                  \
  OP(peers_join)                                                                                   \
  OP(peers_ready)                                                                                  \
  OP(peers_leave)                                                                                  \
  OP(upload_shared)                                                                                \
  OP(sum_i64)

/* Kinds of groups: the devices of this node; all devices of the run. */
typedef enum sb_peers { SB_PEERS_NODE, SB_PEERS_ALL, SB_PEER_GROUPS } sb_peers;

/* Lets the devices of a group find each other: the first one makes it, the others get a copy. */
typedef struct sb_peers_token {
  char bytes[128];
} sb_peers_token;

/* *token = the token of a new group; NULL only asks whether groups are possible.
 * SB_ERR_UNSUPPORTED, with the reason, if not: the program then exchanges through hosts. */
typedef sb_status sb_peers_token_fn(sb_backend *, sb_peers_token *token);
/* Begins to join a group of `size` devices as number `rank`; at most one group per kind. Does not
 * wait for the others: a process that fails would leave them waiting. */
typedef sb_status sb_peers_join_fn(sb_backend *, sb_peers kind, const sb_peers_token *token,
                                   int rank, int size);
/* *ready: all devices have joined, and peers[kind] = size. Does not wait. */
typedef sb_status sb_peers_ready_fn(sb_backend *, sb_peers kind, bool *ready);
/* Gives up a group, joined or half joined; without waiting. */
typedef void sb_peers_leave_fn(sb_backend *, sb_peers kind);

/* Uploads the same bytes to all devices of a node: each uploads its share from its host and gets
 * the other shares from the other devices. `device` has sb_shared_room(b, bytes) bytes. Collective
 * if peers[SB_PEERS_NODE] > 1, else the same as upload. */
typedef sb_status sb_upload_shared_fn(sb_backend *, sb_stream, void *device, const void *host,
                                      size_t bytes);
/* sums[count] = the sums over all devices, modulo 2^64. Collective; needs peers[SB_PEERS_ALL] > 1.
 */
typedef sb_status sb_sum_i64_fn(sb_backend *, sb_stream, int64_t *sums, size_t count);

#endif
