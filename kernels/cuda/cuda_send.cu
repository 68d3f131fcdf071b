#include "kernels/cuda/cuda.h"

static sb_status make_room(sb_backend *backend, sb_cuda_parcel *parcel, size_t bytes) {
  if (bytes <= parcel->bytes) return SB_OK;
  sb_cuda_free(backend, parcel->device);
  sb_cuda_host_free(backend, parcel->host);
  parcel->device = parcel->host = NULL;
  parcel->bytes = 0;
  SB_TRY(sb_cuda_alloc(backend, bytes, "arguments of kernels", &parcel->device));
  SB_TRY(sb_cuda_host_alloc(backend, bytes, "arguments of kernels", &parcel->host));
  parcel->bytes = bytes;
  return SB_OK;
}

sb_status sb_cuda_send(sb_backend *backend, cudaStream_t stream, const void *host, size_t bytes,
                       void *out_pointer) {
  sb_cuda *cuda = sb_cuda_of(backend);
  sb_cuda_parcel *last = &cuda->parcels[cuda->parcel];
  void **out = (void **)out_pointer;
  if (last->user) SB_CUDA_TRY(backend, cudaEventRecord(last->used, last->user), "event");
  cuda->parcel = (cuda->parcel + 1) % SB_CUDA_PARCELS;
  sb_cuda_parcel *parcel = &cuda->parcels[cuda->parcel];
  if (parcel->user) SB_CUDA_TRY(backend, cudaEventSynchronize(parcel->used), "computing");
  if (!parcel->used)
    SB_CUDA_TRY(backend, cudaEventCreateWithFlags(&parcel->used, cudaEventDisableTiming), "event");
  parcel->user = NULL;
  SB_TRY(make_room(backend, parcel, bytes));
  memcpy(parcel->host, host, bytes);
  SB_TRY(sb_cuda_upload(backend, (sb_stream)stream, parcel->device, parcel->host, bytes));
  parcel->user = stream;
  *out = parcel->device;
  return SB_OK;
}

void sb_cuda_send_free(sb_backend *backend) {
  sb_cuda *cuda = sb_cuda_of(backend);
  for (int i = 0; i < SB_CUDA_PARCELS; i++) {
    sb_cuda_free(backend, cuda->parcels[i].device);
    sb_cuda_host_free(backend, cuda->parcels[i].host);
    if (cuda->parcels[i].used) (void)cudaEventDestroy(cuda->parcels[i].used);
  }
}
