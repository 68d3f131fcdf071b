#include "quant/device_sums.h"

#include "base/memory.h"
#include "mpi/large.h"

enum { PIECE = 1 << 23 };

enum way { NOWHERE, BY_DEVICES, BY_MPI, BY_HOST };
static enum way way_of(const sb_device_sums *d) {
  if (d->world->size == 1) return NOWHERE;
  if (d->backend->peers[SB_PEERS_ALL] > 1) return BY_DEVICES;
  return d->backend->in_mpi ? BY_MPI : BY_HOST;
}

sb_status sb_device_sums_open(const sb_world *world, sb_backend *backend, size_t piece,
                              sb_device_sums *out) {
  *out = (sb_device_sums){.world = world, .backend = backend, .piece = piece ? piece : PIECE};
  for (int k = 0; k < 2 && way_of(out) == BY_HOST; k++)
    SB_TRY(backend->op->host_alloc(backend, out->piece * sizeof **out->pieces, "sums on their way",
                                   (void **)&out->pieces[k]));
  return SB_OK;
}

void sb_device_sums_release(sb_device_sums *d) {
  for (int k = 0; k < 2 && d->backend; k++) d->backend->op->host_free(d->backend, d->pieces[k]);
  *d = (sb_device_sums){0};
}

/* While one piece is on the network, the next one is on its way from the device. */
static sb_status through_hosts(const sb_device_sums *d, sb_stream stream, int64_t *sums,
                               size_t count) {
  sb_backend *b = d->backend;
  sb_status status =
      b->op->download(b, stream, d->pieces[0], sums, sb_min_size(d->piece, count) * sizeof *sums);
  for (size_t at = 0, k = 0; at < count; at += d->piece, k++) {
    const size_t part = sb_min_size(d->piece, count - at), next = at + part;
    int64_t *sent = d->pieces[k % 2], *coming = d->pieces[(k + 1) % 2];
    SB_THEN(b->op->sync(b, stream));
    if (status == SB_OK && next < count)
      status = b->op->download(b, stream, coming, sums + next,
                               sb_min_size(d->piece, count - next) * sizeof *sums);
    SB_AGREE(d->world, status);
    SB_TRY(sb_mpi_sum_i64(sent, part, d->world->comm));
    status = b->op->upload(b, stream, sums + at, sent, part * sizeof *sums);
  }
  SB_THEN(b->op->sync(b, stream));
  return sb_world_agree(d->world, status);
}

/* MPI reads and writes when it is called, whatever is queued. */
static sb_status by_mpi(const sb_device_sums *d, sb_stream stream, int64_t *sums, size_t count) {
  SB_AGREE(d->world, d->backend->op->sync(d->backend, stream));
  return sb_mpi_sum_i64(sums, count, d->world->comm);
}

sb_status sb_device_sums_make(const sb_device_sums *d, sb_stream stream, int64_t *sums,
                              size_t count) {
  switch (way_of(d)) {
  case BY_DEVICES:
    return d->backend->op->sum_i64(d->backend, stream, sums, count);
  case BY_MPI:
    return by_mpi(d, stream, sums, count);
  case BY_HOST:
    return through_hosts(d, stream, sums, count);
  case NOWHERE:
    break;
  }
  return SB_OK;
}
