#include "kernels/cuda/cuda.h"

sb_status sb_cuda_check(const sb_backend *backend, cudaError_t error, const char *what) {
  if (error == cudaSuccess) return SB_OK;
  const sb_cuda *cuda = (const sb_cuda *)backend->impl;
  return sb_fail(SB_ERR_DEVICE, "%s: %s: %s (%s)", cuda->where, what, cudaGetErrorString(error),
                 cudaGetErrorName(error));
}

static double gib(size_t bytes) {
  return (double)bytes / (double)(1u << 30);
}

sb_status sb_cuda_alloc(sb_backend *backend, size_t bytes, const char *what, void **device) {
  const sb_cuda *cuda = sb_cuda_of(backend);
  *device = NULL;
  cudaError_t error = cudaMalloc(device, bytes > 0 ? bytes : 1);
  if (error != cudaErrorMemoryAllocation) return sb_cuda_check(backend, error, what);
  size_t left = 0, all = cuda->memory;
  (void)cudaGetLastError(); /* it is reported here, and is no failure of what comes after */
  (void)cudaMemGetInfo(&left, &all);
  return sb_fail(SB_ERR_MEMORY,
                 "%s: %.3f GiB for %s do not fit: %.3f of %.3f GiB are free. Lower "
                 "--activation-memory or --seqlen, "
                 "start fewer ranks on this GPU, or use --device cpu",
                 cuda->where, gib(bytes), what, gib(left), gib(all));
}

void sb_cuda_free(sb_backend *backend, void *device) {
  (void)backend;
  if (device) (void)cudaFree(device); /* an error here came earlier; a sync reports it */
}

sb_status sb_cuda_host_alloc(sb_backend *backend, size_t bytes, const char *what, void **host) {
  *host = NULL;
  cudaError_t error = cudaMallocHost(host, bytes > 0 ? bytes : 1);
  if (error != cudaErrorMemoryAllocation) return sb_cuda_check(backend, error, what);
  (void)cudaGetLastError();
  return sb_fail(SB_ERR_MEMORY, "%s: %.3f GiB of pinned host memory for %s are not to be had",
                 sb_cuda_of(backend)->where, gib(bytes), what);
}

void sb_cuda_host_free(sb_backend *backend, void *host) {
  (void)backend;
  if (host) (void)cudaFreeHost(host);
}

sb_status sb_cuda_host_pin(sb_backend *backend, void *host, size_t bytes) {
  if (bytes == 0) return SB_OK;
  cudaError_t error = cudaHostRegister(host, bytes, cudaHostRegisterDefault);
  (void)cudaGetLastError(); /* it is reported here, and is no failure of what comes after */
  return sb_cuda_check(backend, error, "pinning host memory");
}

void sb_cuda_host_unpin(sb_backend *backend, void *host) {
  (void)backend;
  (void)cudaHostUnregister(host);
}

static sb_status transfer(sb_backend *backend, sb_stream stream, void *to, const void *from,
                          size_t bytes, cudaMemcpyKind kind, const char *what) {
  if (bytes == 0 || to == from) return SB_OK;
  return sb_cuda_check(
      backend, cudaMemcpyAsync(to, from, bytes, kind, sb_cuda_stream(backend, stream)), what);
}

sb_status sb_cuda_upload(sb_backend *backend, sb_stream stream, void *device, const void *host,
                         size_t bytes) {
  return transfer(backend, stream, device, host, bytes, cudaMemcpyHostToDevice, "upload");
}

sb_status sb_cuda_download(sb_backend *backend, sb_stream stream, void *host, const void *device,
                           size_t bytes) {
  return transfer(backend, stream, host, device, bytes, cudaMemcpyDeviceToHost, "download");
}

sb_status sb_cuda_copy(sb_backend *backend, sb_stream stream, void *dst, const void *src,
                       size_t bytes) {
  return transfer(backend, stream, dst, src, bytes, cudaMemcpyDeviceToDevice, "copy");
}

sb_status sb_cuda_zero(sb_backend *backend, sb_stream stream, void *device, size_t bytes) {
  if (bytes == 0) return SB_OK;
  return sb_cuda_check(backend, cudaMemsetAsync(device, 0, bytes, sb_cuda_stream(backend, stream)),
                       "zero");
}

sb_status sb_cuda_stream_create(sb_backend *backend, sb_stream *stream) {
  cudaStream_t made = NULL;
  *stream = NULL;
  SB_CUDA_TRY(backend, cudaStreamCreateWithFlags(&made, cudaStreamNonBlocking), "stream");
  *stream = (sb_stream)made;
  return SB_OK;
}

void sb_cuda_stream_destroy(sb_backend *backend, sb_stream stream) {
  sb_cuda *cuda = sb_cuda_of(backend);
  if (!stream) return;
  (void)cudaStreamSynchronize((cudaStream_t)stream);
  for (int slot = 0; slot < SB_CUDA_SLOT_COUNT;
       slot++) /* its work is done, and its name may come again */
    if (cuda->scratch[slot].user == (cudaStream_t)stream) cuda->scratch[slot].user = NULL;
  for (int i = 0; i < SB_CUDA_PARCELS; i++)
    if (cuda->parcels[i].user == (cudaStream_t)stream) cuda->parcels[i].user = NULL;
  (void)cudaStreamDestroy((cudaStream_t)stream);
}

static sb_status cross(sb_backend *backend, cudaStream_t waiter, cudaStream_t waited) {
  sb_cuda *cuda = sb_cuda_of(backend);
  if (waiter == waited) return SB_OK;
  SB_CUDA_TRY(backend, cudaEventRecord(cuda->crossing, waited), "stream");
  return sb_cuda_check(backend, cudaStreamWaitEvent(waiter, cuda->crossing, 0), "stream");
}

sb_status sb_cuda_stream_wait(sb_backend *backend, sb_stream waiter, sb_stream waited) {
  return cross(backend, sb_cuda_stream(backend, waiter), sb_cuda_stream(backend, waited));
}

sb_status sb_cuda_sync(sb_backend *backend, sb_stream stream) {
  int *trouble = sb_cuda_of(backend)->trouble, found;
  SB_CUDA_TRY(backend, cudaStreamSynchronize(sb_cuda_stream(backend, stream)),
              "computing (the error may come from any operation since the last wait)");
  found = *(volatile int *)trouble;
  *trouble = 0;
  if (found == 0) return SB_OK;
  if (found == SB_CUDA_TROUBLE_MULTIPLES)
    return sb_fail(SB_ERR_NUMERIC,
                   "numbers to be added up are not finite, or differ too much in size");
  return sb_fail(SB_ERR_NUMERIC, "%s are not finite, or add up to more than exact sums hold",
                 found == SB_CUDA_TROUBLE_INPUTS ? "products of inputs"
                                                 : "squares of activations or gradients");
}

sb_status sb_cuda_scratch(sb_backend *backend, cudaStream_t stream, sb_cuda_slot slot, size_t bytes,
                          void *out_pointer) {
  sb_cuda *cuda = sb_cuda_of(backend);
  void **out = (void **)out_pointer;
  if (bytes > cuda->scratch[slot].bytes) {
    sb_cuda_free(backend, cuda->scratch[slot].data); /* waits for the device */
    cuda->scratch[slot].data = NULL;
    cuda->scratch[slot].bytes = 0;
    SB_TRY(sb_cuda_alloc(backend, bytes, "scratch memory of kernels", &cuda->scratch[slot].data));
    cuda->scratch[slot].bytes = bytes;
  } else if (cuda->scratch[slot].user) {
    SB_TRY(cross(backend, stream, cuda->scratch[slot].user));
  }
  cuda->scratch[slot].user = stream;
  *out = cuda->scratch[slot].data;
  return SB_OK;
}
