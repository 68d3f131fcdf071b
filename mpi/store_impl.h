/* The inside of a store: for mpi/store.c, mpi/store_check.c and the test that breaks it. */
#ifndef SB_MPI_STORE_IMPL_H
#define SB_MPI_STORE_IMPL_H

#include "mpi/store.h"
#include "mpi/window.h"

typedef enum sb_slot_state { SB_SLOT_FREE, SB_SLOT_COMING, SB_SLOT_HELD } sb_slot_state;

typedef struct sb_slot {
  sb_slot_state state;
  size_t group;
  int holders;       /* acquires not yet released */
  uint64_t released; /* the store's number of syncs when it was released last */
  char *image;
  MPI_Request *requests; /* receives, then sends */
  size_t receives, pending;
} sb_slot;

struct sb_store {
  const sb_world *world;
  MPI_Comm comm;
  sb_layout layout;
  char *own; /* this rank's units, group after group, each group at a multiple of 64 */
  size_t own_bytes;
  size_t *own_at; /* [groups] */
  int *receiver;  /* [nodes] the rank of each node that receives this rank's units; -1 for the own
                     node */
  sb_window window;
  uint64_t syncs;
  int slot_count;
  sb_slot *slots;
  uint64_t bytes_sent;
  double waited;
};

/* `bytes` up to the next multiple of 64, where groups begin. */
static inline size_t sb_store_padded(size_t bytes) {
  return (bytes + 63) & ~(size_t)63;
}

#endif
