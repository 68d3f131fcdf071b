#include "mpi/store.h"

#include <string.h>

#include "base/log.h"
#include "base/memory.h"
#include "base/text.h"
#include "base/trace.h"
#include "mpi/large.h"
#include "mpi/store_impl.h"

/* Rank `owner` of another node sends its units to this rank. */
static bool receives_from(const sb_world *world, int owner) {
  return world->node_of[owner] != world->node && owner % world->node_size == world->node_rank;
}

static size_t most_requests(const sb_store *store) {
  const sb_world *world = store->world;
  size_t most = 0;
  for (size_t g = 0; g < store->layout.count; g++) {
    size_t n =
        (size_t)(world->nodes - 1) * sb_mpi_pieces(sb_layout_owned(&store->layout, g, world->rank));
    for (int r = 0; r < world->size; r++)
      if (receives_from(world, r)) n += sb_mpi_pieces(sb_layout_owned(&store->layout, g, r));
    most = sb_max_size(most, n);
  }
  return most;
}

/* Everything of a new store that concerns this rank alone. Local. */
static sb_status allocate(sb_store *store, const sb_store_group *groups, size_t count, int slots) {
  const sb_world *world = store->world;
  size_t total = 0, requests;
  SB_TRY(sb_layout_create(groups, count, world->size, &store->layout));
  SB_TRY(sb_alloc(&store->own_at, count, sizeof *store->own_at, "store"));
  for (size_t g = 0; g < count; g++) {
    const size_t bytes = sb_layout_owned(&store->layout, g, world->rank);
    store->own_at[g] = total;
    if (bytes > SIZE_MAX - 63 || !sb_add_size(total, sb_store_padded(bytes), &total))
      return sb_fail(SB_ERR_RANGE,
                     "group %zu of %zu own bytes makes the store larger than the address space", g,
                     bytes);
  }
  store->own_bytes = total;
  SB_TRY(sb_alloc_raw(&store->own, total, 1, "this rank's parameters"));
  SB_TRY(sb_alloc(&store->receiver, (size_t)world->nodes, sizeof *store->receiver, "store"));
  for (int n = 0; n < world->nodes; n++) store->receiver[n] = -1;
  for (int r = 0; r < world->size; r++) {
    const int n = world->node_of[r];
    if (n != world->node && world->node_rank_of[r] == world->rank % world->node_sizes[n])
      store->receiver[n] = r;
  }
  SB_TRY(sb_alloc(&store->slots, (size_t)slots, sizeof *store->slots, "store"));
  store->slot_count = slots;
  requests = most_requests(store);
  for (int s = 0; s < slots; s++)
    SB_TRY(sb_alloc(&store->slots[s].requests, requests, sizeof(MPI_Request), "store"));
  return SB_OK;
}

/* Collective: descriptions that differ would make messages that do not match. */
static sb_status check_alike(const sb_store *store) {
  uint64_t hash = sb_layout_hash(&store->layout) ^ (uint64_t)store->slot_count,
           ends[2] = {hash, ~hash};
  SB_TRY(sb_mpi_max_u64(ends, 2, store->world->comm));
  if (ends[0] != ~ends[1])
    return sb_fail(SB_ERR_INTERNAL,
                   "the parameter store was described differently on different ranks");
  return SB_OK;
}

static sb_status allocate_images(sb_store *store) {
  const size_t stride = sb_store_padded(store->layout.largest);
  size_t bytes;
  if (store->world->size == 1) return SB_OK;
  if (store->layout.largest > SIZE_MAX - 63 ||
      !sb_mul_size(stride, (size_t)store->slot_count, &bytes))
    return sb_fail(SB_ERR_RANGE, "%d groups of %zu bytes are beyond the address space",
                   store->slot_count, store->layout.largest);
  SB_TRY(sb_window_create(store->world, bytes, &store->window));
  for (int s = 0; s < store->slot_count; s++)
    store->slots[s].image = store->window.base + (size_t)s * stride;
  return SB_OK;
}

static void log_sizes(const sb_store *store) {
  char own[SB_TEXT_SIZE], image[SB_TEXT_SIZE];
  sb_log_debug(
      "store", "%zu groups over %d node%s: %s of this rank, images of up to %s in %d slots",
      store->layout.count, store->world->nodes, sb_text_s(store->world->nodes),
      sb_text_bytes(own, sizeof own, (double)store->own_bytes),
      sb_text_bytes(image, sizeof image, (double)store->layout.largest), store->slot_count);
}

sb_status sb_store_create(const sb_world *world, const sb_store_group *groups, size_t count,
                          int slots, sb_store **out) {
  sb_status status;
  sb_store *store = NULL;
  *out = NULL;
  status = slots < 1 ? sb_fail(SB_ERR_INTERNAL, "a store needs at least one slot, not %d", slots)
                     : SB_OK;
  SB_THEN(sb_alloc(&store, 1, sizeof *store, "store"));
  if (status == SB_OK) {
    store->world = world;
    store->comm = MPI_COMM_NULL;
    store->window = (sb_window){.win = MPI_WIN_NULL, .comm = MPI_COMM_NULL};
    store->syncs = 1; /* slots that were never used count as released before the first sync */
    status = allocate(store, groups, count, slots);
  }
  SB_GO(sb_world_agree(world, status));
  SB_GO(check_alike(store));
  SB_GO(
      sb_world_agree(world, sb_mpi_check(MPI_Comm_dup(world->comm, &store->comm), "MPI_Comm_dup")));
  SB_GO(allocate_images(store));
  SB_ASSERT_VALID(sb_store_is_valid, store);
  log_sizes(store);
done:
  if (status == SB_OK)
    *out = store;
  else
    sb_store_free(&store);
  return status;
}

void sb_store_free(sb_store **pointer) {
  sb_store *store = *pointer;
  if (!store) return;
  sb_log_debug("store", "released: %llu bytes sent to other nodes, %.3f s waited",
               (unsigned long long)store->bytes_sent, store->waited);
  for (int s = 0; s < store->slot_count; s++) {
    if (store->slots[s].pending)
      MPI_Waitall((int)store->slots[s].pending, store->slots[s].requests, MPI_STATUSES_IGNORE);
    sb_free(&store->slots[s].requests);
  }
  sb_window_free(&store->window);
  if (store->comm != MPI_COMM_NULL) MPI_Comm_free(&store->comm);
  sb_free(&store->slots);
  sb_free(&store->receiver);
  sb_free(&store->own_at);
  sb_free(&store->own);
  sb_layout_free(&store->layout);
  sb_free(pointer);
}

void sb_store_owned(const sb_store *store, size_t g, int rank, size_t *first, size_t *end) {
  *first = store->layout.groups[g].cuts[rank];
  *end = store->layout.groups[g].cuts[rank + 1];
}

size_t sb_store_offset(const sb_store *store, size_t g, size_t unit) {
  return store->layout.groups[g].offsets[unit];
}

void *sb_store_unit(sb_store *store, size_t g, size_t unit) {
  const int rank = store->world->rank;
  size_t first, end;
  sb_store_owned(store, g, rank, &first, &end);
  if (unit < first || unit >= end) return NULL;
  return store->own + store->own_at[g] +
         (sb_store_offset(store, g, unit) - sb_store_offset(store, g, first));
}

static sb_slot *find(const sb_store *store, size_t g) {
  for (int s = 0; s < store->slot_count; s++)
    if (store->slots[s].state != SB_SLOT_FREE && store->slots[s].group == g)
      return &store->slots[s];
  return NULL;
}

static sb_status sync_node(sb_store *store) {
  SB_SPAN(SB_TRACE_WAIT, "node", SB_TRACE_NONE);
  SB_TRY(sb_window_sync(&store->window));
  store->syncs++;
  return SB_OK;
}

/* Posts this rank's receives and sends of group g, and copies its own units
 * into the node's image. */
static sb_status start(sb_store *store, sb_slot *to, size_t g) {
  SB_SPAN(SB_TRACE_GATHER, "send", g);
  const sb_world *world = store->world;
  const sb_layout *layout = &store->layout;
  const char *own = store->own + store->own_at[g];
  const size_t bytes = sb_layout_owned(layout, g, world->rank);
  const int tag = (int)(to - store->slots); /* groups in flight are in different slots */
  to->receives = to->pending = 0;
  for (int r = 0; r < world->size; r++) {
    if (!receives_from(world, r)) continue;
    SB_TRY(sb_mpi_irecv(to->image + sb_layout_begin(layout, g, r), sb_layout_owned(layout, g, r), r,
                        tag, store->comm, to->requests, &to->pending));
  }
  to->receives = to->pending;
  for (int i = 1; i < world->nodes;
       i++) { /* nodes begin with their successor: no node is everyone's first */
    const int receiver = store->receiver[(world->node + i) % world->nodes];
    SB_TRY(sb_mpi_isend(own, bytes, receiver, tag, store->comm, to->requests, &to->pending));
    store->bytes_sent += bytes;
  }
  if (bytes) memcpy(to->image + sb_layout_begin(layout, g, world->rank), own, bytes);
  return SB_OK;
}

sb_status sb_store_prefetch(sb_store *store, size_t g) {
  sb_slot *to = NULL;
  if (g >= store->layout.count)
    return sb_fail(SB_ERR_INTERNAL, "group %zu of a store of %zu", g, store->layout.count);
  if (find(store, g)) return SB_OK;
  for (int s = store->slot_count - 1; s >= 0; s--)
    if (store->slots[s].state == SB_SLOT_FREE) to = &store->slots[s];
  if (!to)
    return sb_fail(SB_ERR_INTERNAL, "group %zu: all %d slots of the store hold other groups", g,
                   store->slot_count);
  if (store->world->size == 1) {
    to->image = store->own + store->own_at[g];
  } else {
    /* The node's other ranks may still read the slot unless a sync followed its release. */
    if (to->released == store->syncs) SB_TRY(sync_node(store));
    SB_TRY(start(store, to, g));
  }
  to->group = g;
  to->state = SB_SLOT_COMING;
  return SB_OK;
}

sb_status sb_store_progress(sb_store *store) {
  int done;
  for (int s = 0; s < store->slot_count; s++) {
    sb_slot *at = &store->slots[s];
    if (at->state == SB_SLOT_FREE || at->pending == 0) continue;
    SB_MPI(MPI_Testall((int)at->pending, at->requests, &done, MPI_STATUSES_IGNORE));
    if (done) at->receives = at->pending = 0;
  }
  return SB_OK;
}

sb_status sb_store_acquire(sb_store *store, size_t g, const void **image) {
  sb_slot *at;
  *image = NULL;
  SB_TRY(sb_store_prefetch(store, g));
  at = find(store, g);
  if (at->state == SB_SLOT_COMING && store->world->size > 1) {
    SB_SPAN_INTO(&store->waited, SB_TRACE_GATHER, "acquire", g);
    if (at->receives) SB_MPI(MPI_Waitall((int)at->receives, at->requests, MPI_STATUSES_IGNORE));
    SB_TRY(sync_node(store));
  }
  at->state = SB_SLOT_HELD;
  at->holders++;
  *image = at->image;
  return SB_OK;
}

sb_status sb_store_release(sb_store *store, size_t g) {
  sb_slot *at = find(store, g);
  if (!at || at->state != SB_SLOT_HELD)
    return sb_fail(SB_ERR_INTERNAL, "group %zu is released but not held", g);
  if (--at->holders > 0) return SB_OK;
  if (at->pending) {
    SB_SPAN_INTO(&store->waited, SB_TRACE_GATHER, "sends to leave", g);
    SB_MPI(MPI_Waitall((int)at->pending, at->requests, MPI_STATUSES_IGNORE));
  }
  at->receives = at->pending = 0;
  at->state = SB_SLOT_FREE;
  at->released = store->syncs;
  return SB_OK;
}

sb_status sb_store_give_back(sb_store *store) {
  for (int s = 0; s < store->slot_count; s++) {
    sb_slot *at = &store->slots[s];
    if (at->state == SB_SLOT_FREE) continue;
    if (at->pending) SB_MPI(MPI_Waitall((int)at->pending, at->requests, MPI_STATUSES_IGNORE));
    at->receives = at->pending = 0;
    at->holders = 0;
    at->state = SB_SLOT_FREE;
    at->released = store->syncs;
  }
  return SB_OK;
}

void sb_store_images(const sb_store *store, void **memory, size_t *bytes) {
  const bool alone = store->world->size == 1;
  *memory = alone ? store->own : store->window.base;
  *bytes =
      alone ? store->own_bytes : sb_store_padded(store->layout.largest) * (size_t)store->slot_count;
}

uint64_t sb_store_bytes_sent(const sb_store *store) {
  return store->bytes_sent;
}

double sb_store_wait_seconds(const sb_store *store) {
  return store->waited;
}
