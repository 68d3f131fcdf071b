/* Exchange between GPUs of several processes without their hosts, by NCCL. Sums are of integers, so
 * their order does not matter. */
#include "kernels/cuda/cuda.h"

extern "C" {
#include "base/memory.h"
}

#include "kernels/cuda/cuda_nccl.h"

static sb_status check(const sb_backend *backend, ncclResult_t result, const char *what) {
  const sb_cuda *cuda = (const sb_cuda *)backend->impl;
  if (result == ncclSuccess) return SB_OK;
  return sb_fail(SB_ERR_DEVICE, "%s: NCCL failed at %s: %s", cuda->where, what,
                 cuda->nccl->error(result));
}

static sb_status open_nccl(sb_backend *backend) {
  sb_cuda *cuda = sb_cuda_of(backend);
  if (!cuda->nccl) SB_TRY(sb_alloc(&cuda->nccl, 1, sizeof *cuda->nccl, "NCCL"));
  if (cuda->nccl->library) return SB_OK;
  return sb_cuda_nccl_load(cuda->nccl, cuda->where);
}

sb_status sb_cuda_peers_token(sb_backend *backend, sb_peers_token *token) {
  static_assert(sizeof(ncclUniqueId) == sizeof token->bytes, "a token is what NCCL hands round");
  ncclUniqueId id;
  SB_TRY(open_nccl(backend));
  if (!token) return SB_OK;
  SB_TRY(check(backend, sb_cuda_of(backend)->nccl->get_id(&id), "its start"));
  memcpy(token->bytes, &id, sizeof id);
  return SB_OK;
}

sb_status sb_cuda_peers_join(sb_backend *backend, sb_peers kind, const sb_peers_token *token,
                             int rank, int size) {
  ncclUniqueId id;
  SB_TRY(open_nccl(backend));
  sb_cuda_nccl *nccl = sb_cuda_of(backend)->nccl;
  if (nccl->comm[kind]) return sb_fail(SB_ERR_INTERNAL, "a GPU joins two groups of a kind");
  memcpy(&id, token->bytes, sizeof id);
  SB_TRY(check(backend, nccl->init(&nccl->comm[kind], size, id, rank), "its start"));
  backend->peers[kind] = size;
  backend->peer_rank[kind] = rank;
  return SB_OK;
}

sb_status sb_cuda_upload_shared(sb_backend *backend, sb_stream stream, void *device,
                                const void *host, size_t bytes) {
  if (backend->peers[SB_PEERS_NODE] < 2)
    return sb_cuda_upload(backend, stream, device, host, bytes);
  const size_t part = sb_shared_part(backend, bytes),
               at = sb_min_size(bytes, part * (size_t)backend->peer_rank[SB_PEERS_NODE]);
  sb_cuda_nccl *nccl = sb_cuda_of(backend)->nccl;
  char *mine = (char *)device + part * (size_t)backend->peer_rank[SB_PEERS_NODE];
  SB_TRY(sb_cuda_upload(backend, stream, mine, (const char *)host + at,
                        sb_min_size(part, bytes - at)));
  return check(backend,
               nccl->all_gather(mine, device, part, ncclInt8, nccl->comm[SB_PEERS_NODE],
                                sb_cuda_stream(backend, stream)),
               "a gather of weights");
}

sb_status sb_cuda_sum_i64(sb_backend *backend, sb_stream stream, int64_t *sums, size_t count) {
  sb_cuda_nccl *nccl = sb_cuda_of(backend)->nccl;
  if (backend->peers[SB_PEERS_ALL] < 2)
    return sb_fail(SB_ERR_INTERNAL, "a sum over GPUs that are no group");
  return check(backend,
               nccl->all_reduce(sums, sums, count, ncclInt64, ncclSum, nccl->comm[SB_PEERS_ALL],
                                sb_cuda_stream(backend, stream)),
               "a sum");
}

/* Does not wait for other processes: every operation is done by now, or the device is broken. */
void sb_cuda_peers_close(sb_backend *backend) {
  sb_cuda *cuda = sb_cuda_of(backend);
  if (!cuda->nccl) return;
  for (int kind = 0; kind < SB_PEER_GROUPS; kind++)
    if (cuda->nccl->comm[kind]) (void)cuda->nccl->abort(cuda->nccl->comm[kind]);
  sb_cuda_nccl_unload(cuda->nccl);
  sb_free(&cuda->nccl);
}
