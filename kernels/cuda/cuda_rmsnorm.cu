#include "kernels/cuda/number.cuh"
#include "kernels/cuda/reduce.cuh"

/* dw is summed over tokens in runs of this many, then over the runs: a cut that the shape alone
 * decides. */
enum { RUN = 32 };

/* One block per token. */
template <typename Y>
static __global__ void __launch_bounds__(SB_CUDA_THREADS)
    norm(Y *y, float *rstd, const float *x, const float *w, size_t h, float eps) {
  __shared__ float scratch[SB_WARP];
  const size_t t = blockIdx.x;
  const float *in = x + t * h;
  float sum = 0.0f;
  for (size_t i = threadIdx.x; i < h; i += blockDim.x) sum += in[i] * in[i];
  sum = sb_block_sum(sum, scratch);
  const float inverse = 1.0f / sqrtf(sum / (float)h + eps);
  if (threadIdx.x == 0) rstd[t] = inverse;
  for (size_t i = threadIdx.x; i < h; i += blockDim.x)
    sb_store_number(&y[t * h + i], in[i] * inverse * w[i]);
}

sb_status sb_cuda_rmsnorm(sb_backend *backend, sb_stream stream, void *y, float *rstd,
                          const void *x, const float *w, size_t T, size_t h, float eps) {
  if (T == 0 || h == 0) return SB_OK;
  return sb_with_operand(backend, [&](auto type) {
    typedef decltype(type) Y;
    return sb_cuda_launch(backend, sb_cuda_stream(backend, stream), "rmsnorm", norm<Y>, (unsigned)T,
                          SB_CUDA_THREADS, 0, (Y *)y, rstd, (const float *)x, w, h, eps);
  });
}

/* With r = rstd: dx_i += r (w_i dy_i - x_i r^2 / h sum_j w_j dy_j x_j). One block per token. */
static __global__ void __launch_bounds__(SB_CUDA_THREADS)
    norm_back(float *dx, const float *dy, const float *x, const float *w, const float *rstd,
              size_t h) {
  __shared__ float scratch[SB_WARP];
  const size_t t = blockIdx.x;
  const float *up = dy + t * h, *in = x + t * h;
  const float r = rstd[t];
  float sum = 0.0f;
  for (size_t i = threadIdx.x; i < h; i += blockDim.x) sum += up[i] * w[i] * in[i];
  const float along = sb_block_sum(sum, scratch) * r * r * r / (float)h;
  for (size_t i = threadIdx.x; i < h; i += blockDim.x)
    dx[t * h + i] += r * w[i] * up[i] - along * in[i];
}

/* partial[run][i] = sum over the run's tokens of dy_i x_i r. */
static __global__ void __launch_bounds__(SB_CUDA_THREADS)
    weight_runs(float *partial, const float *dy, const float *x, const float *rstd, size_t T,
                size_t h) {
  const size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x, first = (size_t)blockIdx.y * RUN;
  const size_t end = first + RUN < T ? first + RUN : T;
  if (i >= h) return;
  float sum = 0.0f;
  for (size_t t = first; t < end; t++) sum += dy[t * h + i] * x[t * h + i] * rstd[t];
  partial[blockIdx.y * h + i] = sum;
}

static __global__ void __launch_bounds__(SB_CUDA_THREADS)
    add_runs(float *dw, const float *partial, size_t runs, size_t h) {
  const size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= h) return;
  float sum = dw[i];
  for (size_t run = 0; run < runs; run++) sum += partial[run * h + i];
  dw[i] = sum;
}

sb_status sb_cuda_rmsnorm_back(sb_backend *backend, sb_stream which, void *dx, float *dw,
                               const void *dy, const void *x, const float *w, const float *rstd,
                               size_t T, size_t h) {
  const cudaStream_t stream = sb_cuda_stream(backend, which);
  if (T == 0 || h == 0) return SB_OK;
  SB_TRY(sb_cuda_launch(backend, stream, "rmsnorm_back", norm_back, (unsigned)T, SB_CUDA_THREADS, 0,
                        (float *)dx, (const float *)dy, (const float *)x, w, rstd, h));
  if (!dw) return SB_OK;
  const size_t runs = (T + RUN - 1) / RUN;
  const unsigned columns = sb_cuda_blocks(h, SB_CUDA_THREADS, UINT32_MAX);
  float *partial;
  if (runs > UINT16_MAX)
    return sb_fail(SB_ERR_UNSUPPORTED, "RMSNorm of a sequence of %zu tokens", T);
  SB_TRY(sb_cuda_scratch(backend, stream, SB_CUDA_SLOT_A, runs * h * sizeof *partial, &partial));
  SB_TRY(sb_cuda_launch(backend, stream, "rmsnorm_back", weight_runs, dim3(columns, (unsigned)runs),
                        SB_CUDA_THREADS, 0, partial, (const float *)dy, (const float *)x, rstd, T,
                        h));
  return sb_cuda_launch(backend, stream, "rmsnorm_back", add_runs, columns, SB_CUDA_THREADS, 0, dw,
                        (const float *)partial, runs, h);
}
