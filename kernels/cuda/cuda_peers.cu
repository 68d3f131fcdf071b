/* Exchange between GPUs of several processes without their hosts, by NCCL. Sums are of integers, so
 * their order does not matter. */
#include <sched.h>

#include "kernels/cuda/cuda.h"

extern "C" {
#include "base/memory.h"
}

#include "kernels/cuda/cuda_nccl.h"

/* Groups do not block, so that joining one can be given up. NCCL finishes a call by itself then;
 * the next call on the group has to wait for that. */
static ncclResult_t settled(const sb_cuda_nccl *nccl, sb_peers kind, ncclResult_t result) {
  while (result == ncclInProgress) {
    const ncclResult_t asked = nccl->state(nccl->comm[kind], &result);
    if (asked != ncclSuccess) return asked;
    if (result == ncclInProgress) sched_yield();
  }
  return result;
}

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
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  SB_TRY(open_nccl(backend));
  sb_cuda_nccl *nccl = sb_cuda_of(backend)->nccl;
  if (nccl->comm[kind]) return sb_fail(SB_ERR_INTERNAL, "a GPU joins two groups of a kind");
  memcpy(&id, token->bytes, sizeof id);
  config.blocking = 0;
  nccl->size[kind] = size;
  nccl->rank[kind] = rank;
  const ncclResult_t begun = nccl->init(&nccl->comm[kind], size, id, rank, &config);
  return begun == ncclInProgress ? SB_OK : check(backend, begun, "its start");
}

sb_status sb_cuda_peers_ready(sb_backend *backend, sb_peers kind, bool *ready) {
  const sb_cuda_nccl *nccl = sb_cuda_of(backend)->nccl;
  ncclResult_t state = ncclSuccess;
  *ready = false;
  SB_TRY(check(backend, nccl->state(nccl->comm[kind], &state), "its start"));
  if (state == ncclInProgress) return SB_OK;
  SB_TRY(check(backend, state, "its start"));
  *ready = true;
  backend->peers[kind] = nccl->size[kind];
  backend->peer_rank[kind] = nccl->rank[kind];
  return SB_OK;
}

void sb_cuda_peers_leave(sb_backend *backend, sb_peers kind) {
  sb_cuda_nccl *nccl = sb_cuda_of(backend)->nccl;
  backend->peers[kind] = 0;
  if (!nccl || !nccl->comm[kind]) return;
  (void)nccl->abort(nccl->comm[kind]);
  nccl->comm[kind] = NULL;
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
  const ncclResult_t result = nccl->all_gather(
      mine, device, part, ncclInt8, nccl->comm[SB_PEERS_NODE], sb_cuda_stream(backend, stream));
  return check(backend, settled(nccl, SB_PEERS_NODE, result), "a gather of weights");
}

sb_status sb_cuda_sum_i64(sb_backend *backend, sb_stream stream, int64_t *sums, size_t count) {
  sb_cuda_nccl *nccl = sb_cuda_of(backend)->nccl;
  if (backend->peers[SB_PEERS_ALL] < 2)
    return sb_fail(SB_ERR_INTERNAL, "a sum over GPUs that are no group");
  const ncclResult_t result =
      nccl->all_reduce(sums, sums, count, ncclInt64, ncclSum, nccl->comm[SB_PEERS_ALL],
                       sb_cuda_stream(backend, stream));
  return check(backend, settled(nccl, SB_PEERS_ALL, result), "a sum");
}

/* Does not wait for other processes: every operation is done by now, or the device is broken. */
void sb_cuda_peers_close(sb_backend *backend) {
  sb_cuda *cuda = sb_cuda_of(backend);
  if (!cuda->nccl) return;
  for (int kind = 0; kind < SB_PEER_GROUPS; kind++) sb_cuda_peers_leave(backend, (sb_peers)kind);
  sb_cuda_nccl_unload(cuda->nccl);
  sb_free(&cuda->nccl);
}
