/* Replaces cuda_peers.cu in a build without NCCL: GPUs form no groups. */
#include "kernels/cuda/cuda.h"

static sb_status without(void) {
  return sb_fail(SB_ERR_UNSUPPORTED, "this build found no NCCL");
}

sb_status sb_cuda_peers_token(sb_backend *, sb_peers_token *) {
  return without();
}

sb_status sb_cuda_peers_join(sb_backend *, sb_peers, const sb_peers_token *, int, int) {
  return without();
}

sb_status sb_cuda_peers_ready(sb_backend *, sb_peers, bool *ready) {
  *ready = false;
  return without();
}

void sb_cuda_peers_leave(sb_backend *, sb_peers) {}

sb_status sb_cuda_upload_shared(sb_backend *backend, sb_stream stream, void *device,
                                const void *host, size_t bytes) {
  return sb_cuda_upload(backend, stream, device, host, bytes);
}

sb_status sb_cuda_sum_i64(sb_backend *, sb_stream, int64_t *, size_t) {
  return without();
}

void sb_cuda_peers_close(sb_backend *) {}
