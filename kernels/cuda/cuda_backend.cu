#include "kernels/cuda/cuda.h"

#include <stdio.h>

extern "C" {
#include "base/memory.h"
#include "kernels/cuda/cuda_device.h"
}

enum { OLDEST = 80 }; /* compute capability 8.0: bf16 tensor cores, asynchronous copies */

void sb_cuda_destroy(sb_backend *backend) {
  if (!backend) return;
  sb_cuda *cuda = sb_cuda_of(backend);
  if (cuda) {
    if (cuda->stream) (void)cudaStreamSynchronize(cuda->stream);
    if (cuda->blas.handle) (void)cuda->blas.destroy(cuda->blas.handle);
    sb_cuda_factor_close(backend);
    sb_cuda_peers_close(backend);
    for (int slot = 0; slot < SB_CUDA_SLOT_COUNT; slot++)
      sb_cuda_free(backend, cuda->scratch[slot].data);
    sb_cuda_send_free(backend);
    if (cuda->crossing) (void)cudaEventDestroy(cuda->crossing);
    sb_cuda_host_free(backend, cuda->trouble);
    if (cuda->stream) (void)cudaStreamDestroy(cuda->stream);
    sb_cuda_blas_unload(&cuda->blas);
  }
  sb_free(&cuda);
  sb_free(&backend);
}

static const sb_backend_ops operations = {
#define SB_CUDA_ENTRY(name) .name = sb_cuda_##name,
    SB_OPS(SB_CUDA_ENTRY)
#undef SB_CUDA_ENTRY
};

sb_status sb_cuda_count_devices(int *count) {
  *count = 0;
  cudaError_t error = cudaGetDeviceCount(count);
  if (error == cudaSuccess && *count > 0) return SB_OK;
  *count = 0;
  if (error != cudaSuccess) (void)cudaGetLastError();
  int driver = 0, runtime = 0;
  (void)cudaDriverGetVersion(&driver);
  (void)cudaRuntimeGetVersion(&runtime);
  if (error == cudaErrorInsufficientDriver && driver > 0)
    return sb_fail(
        SB_ERR_DEVICE,
        "the NVIDIA driver is for CUDA %d.%d and older than the CUDA %d.%d of this build: update "
        "the driver, or "
        "use --device cpu",
        driver / 1000, driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10);
  if (error == cudaErrorInsufficientDriver || error == cudaErrorNoDevice || error == cudaSuccess)
    return sb_fail(SB_ERR_ABSENT, "no %s was found; --device cpu computes on processors",
                   driver > 0 ? "CUDA device" : "NVIDIA driver");
  return sb_fail(SB_ERR_DEVICE, "CUDA does not start: %s (%s); --device cpu computes on processors",
                 cudaGetErrorString(error), cudaGetErrorName(error));
}

static sb_status open_device(sb_backend *backend, sb_compute compute, int index, const char *host) {
  sb_cuda *cuda = sb_cuda_of(backend);
  int count, shared = 0;
  size_t left = 0;
  cudaDeviceProp properties;
  SB_TRY(sb_cuda_count_devices(&count));
  cuda->compute = compute;
  cuda->device = index % count;
  snprintf(cuda->where, sizeof cuda->where, "GPU %d of %.120s", cuda->device, host);
  SB_CUDA_TRY(backend, cudaGetDeviceProperties(&properties, cuda->device),
              "asking for its properties");
  snprintf(cuda->where, sizeof cuda->where, "GPU %d (%.80s) of %.120s", cuda->device,
           properties.name, host);
  memcpy(cuda->uuid, &properties.uuid, sizeof cuda->uuid);
  if (properties.major * 10 + properties.minor < OLDEST)
    return sb_fail(SB_ERR_DEVICE,
                   "%s has compute capability %d.%d; 8.0 (A100) or newer is needed. --device cpu "
                   "computes on processors",
                   cuda->where, properties.major, properties.minor);
  SB_CUDA_TRY(backend, cudaSetDevice(cuda->device), "taking it into use");
  SB_CUDA_TRY(
      backend,
      cudaDeviceGetAttribute(&cuda->multiprocessors, cudaDevAttrMultiProcessorCount, cuda->device),
      "asking for its properties");
  SB_CUDA_TRY(
      backend,
      cudaDeviceGetAttribute(&shared, cudaDevAttrMaxSharedMemoryPerBlockOptin, cuda->device),
      "asking for its properties");
  cuda->shared_limit = (size_t)shared;
  SB_TRY(sb_cuda_host_alloc(backend, sizeof *cuda->trouble, "its flags", (void **)&cuda->trouble));
  *cuda->trouble = 0;
  SB_CUDA_TRY(backend, cudaMemGetInfo(&left, &cuda->memory), "asking for its memory");
  SB_CUDA_TRY(backend, cudaStreamCreateWithFlags(&cuda->stream, cudaStreamNonBlocking), "stream");
  SB_CUDA_TRY(backend, cudaEventCreateWithFlags(&cuda->crossing, cudaEventDisableTiming), "event");
  SB_TRY(sb_cuda_blas_load(&cuda->blas, cuda->where));
  cublasStatus_t blas = cuda->blas.create(&cuda->blas.handle);
  if (blas != CUBLAS_STATUS_SUCCESS)
    return sb_fail(SB_ERR_DEVICE, "%s: cuBLAS does not start (its status %d)", cuda->where,
                   (int)blas);
  void *workspace; /* taken now, and not when the rest is full */
  SB_TRY(sb_cuda_scratch(backend, cuda->stream, SB_CUDA_SLOT_WORKSPACE, SB_CUDA_WORKSPACE,
                         &workspace));
  backend->name = "cuda";
  backend->act = SB_F32;
  backend->operand = compute == SB_COMPUTE_BF16 ? SB_BF16 : SB_F32;
  backend->unified = backend->in_mpi = false;
  backend->free_bytes = left;
  backend->op = &operations;
  return SB_OK;
}

sb_status sb_cuda_create(sb_compute compute, int index, const char *host, sb_backend **out) {
  sb_backend *backend = NULL;
  sb_cuda *cuda = NULL;
  *out = NULL;
  sb_status status = sb_alloc(&backend, 1, sizeof *backend, "CUDA backend");
  SB_THEN(sb_alloc(&cuda, 1, sizeof *cuda, "CUDA backend"));
  if (status != SB_OK) {
    sb_free(&backend);
    return status;
  }
  backend->impl = cuda;
  status = open_device(backend, compute, index, host);
  if (status != SB_OK)
    sb_cuda_destroy(backend);
  else
    *out = backend;
  return status;
}

void sb_cuda_identify(const sb_backend *backend, sb_device_identity *out) {
  const sb_cuda *cuda = (const sb_cuda *)backend->impl;
  snprintf(out->name, sizeof out->name, "%s", cuda->where);
  memcpy(out->uuid, cuda->uuid, sizeof out->uuid);
}
