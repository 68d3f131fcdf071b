#include "kernels/cuda/cuda.h"

#include <stdio.h>

extern "C" {
#include "base/memory.h"
#include "kernels/cuda/cuda_device.h"
}

enum { OLDEST = 80 }; /* compute capability 8.0: bf16 tensor cores, asynchronous copies */

static void destroy(sb_backend *backend) {
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
    .alloc = sb_cuda_alloc,
    .free = sb_cuda_free,
    .host_alloc = sb_cuda_host_alloc,
    .host_free = sb_cuda_host_free,
    .host_pin = sb_cuda_host_pin,
    .host_unpin = sb_cuda_host_unpin,
    .upload = sb_cuda_upload,
    .download = sb_cuda_download,
    .copy = sb_cuda_copy,
    .zero = sb_cuda_zero,
    .stream_create = sb_cuda_stream_create,
    .stream_destroy = sb_cuda_stream_destroy,
    .stream_wait = sb_cuda_stream_wait,
    .sync = sb_cuda_sync,
    .destroy = destroy,
    .peers_token = sb_cuda_peers_token,
    .peers_join = sb_cuda_peers_join,
    .upload_shared = sb_cuda_upload_shared,
    .sum_i64 = sb_cuda_sum_i64,
    .convert = sb_cuda_convert,
    .gather_matrix = sb_cuda_gather_matrix,
    .gemm = sb_cuda_gemm,
    .rmsnorm = sb_cuda_rmsnorm,
    .rmsnorm_back = sb_cuda_rmsnorm_back,
    .rope = sb_cuda_rope,
    .attention = sb_cuda_attention,
    .attention_back = sb_cuda_attention_back,
    .swiglu = sb_cuda_swiglu,
    .swiglu_back = sb_cuda_swiglu_back,
    .add = sb_cuda_add,
    .embed = sb_cuda_embed,
    .embed_back = sb_cuda_embed_back,
    .xent_begin = sb_cuda_xent_begin,
    .xent_chunk = sb_cuda_xent_chunk,
    .xent_end = sb_cuda_xent_end,
    .xent_back_chunk = sb_cuda_xent_back_chunk,
    .kl_chunk = sb_cuda_kl_chunk,
    .kl_end = sb_cuda_kl_end,
    .kl_back_chunk = sb_cuda_kl_back_chunk,
    .fit_blocks = sb_cuda_fit_blocks,
    .quantize_blocks = sb_cuda_quantize_blocks,
    .move_grids = sb_cuda_move_grids,
    .block_moves = sb_cuda_block_moves,
    .channel_scores = sb_cuda_channel_scores,
    .group_products = sb_cuda_group_products,
    .block_squares = sb_cuda_block_squares,
    .choose_grids = sb_cuda_choose_grids,
    .block_curvature = sb_cuda_block_curvature,
    .add_grams = sb_cuda_add_grams,
    .add_squares = sb_cuda_add_squares,
    .add_multiples = sb_cuda_add_multiples,
    .factor_moments = sb_cuda_factor_moments,
    .round_columns = sb_cuda_round_columns,
    .refine_residual = sb_cuda_refine_residual,
    .refine_columns = sb_cuda_refine_columns,
    .unpack_blocks = sb_cuda_unpack_blocks,
    .packed_create = sb_cuda_packed_create,
    .packed_destroy = sb_cuda_packed_destroy,
    .packed_gemm = sb_cuda_packed_gemm,
};

/* What CUDA says of the driver and the devices, as one line for people. */
static sb_status count_devices(int *count) {
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
    return sb_fail(SB_ERR_DEVICE, "no %s was found; --device cpu computes on processors",
                   driver > 0 ? "CUDA device" : "NVIDIA driver");
  return sb_fail(SB_ERR_DEVICE, "CUDA does not start: %s (%s); --device cpu computes on processors",
                 cudaGetErrorString(error), cudaGetErrorName(error));
}

static sb_status open_device(sb_backend *backend, sb_compute compute, int index, const char *host) {
  sb_cuda *cuda = sb_cuda_of(backend);
  int count, shared = 0;
  size_t left = 0;
  cudaDeviceProp properties;
  SB_TRY(count_devices(&count));
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
  if (status == SB_OK) status = sb_alloc(&cuda, 1, sizeof *cuda, "CUDA backend");
  if (status != SB_OK) {
    sb_free(&backend);
    return status;
  }
  backend->impl = cuda;
  status = open_device(backend, compute, index, host);
  if (status != SB_OK)
    destroy(backend);
  else
    *out = backend;
  return status;
}

void sb_cuda_identify(const sb_backend *backend, sb_device_identity *out) {
  const sb_cuda *cuda = (const sb_cuda *)backend->impl;
  snprintf(out->name, sizeof out->name, "%s", cuda->where);
  memcpy(out->uuid, cuda->uuid, sizeof out->uuid);
}
