#include "kernels/cuda/cuda.h"
#include "kernels/cuda/reduce.cuh"

/* Before and after the chunks: one thread per token. */

static __global__ void __launch_bounds__(SB_CUDA_THREADS)
    begin_rows(float *row_max, float *row_sum, float *target_logit, uint32_t *argmax, size_t T) {
  const size_t step = (size_t)gridDim.x * blockDim.x;
  for (size_t t = (size_t)blockIdx.x * blockDim.x + threadIdx.x; t < T; t += step) {
    row_max[t] = -INFINITY;
    row_sum[t] = target_logit[t] = 0.0f;
    if (argmax) argmax[t] = 0;
  }
}

sb_status sb_cuda_xent_begin(sb_backend *backend, sb_stream stream, float *row_max, float *row_sum,
                             float *target_logit, uint32_t *argmax, size_t T) {
  if (T == 0) return SB_OK;
  return sb_cuda_launch(backend, sb_cuda_stream(backend, stream), "xent_begin", begin_rows,
                        sb_cuda_blocks_for(backend, T), SB_CUDA_THREADS, 0, row_max, row_sum,
                        target_logit, argmax, T);
}

static __global__ void __launch_bounds__(SB_CUDA_THREADS)
    end_rows(float *lse, double *nll, const float *row_max, const float *row_sum,
             const float *target_logit, const uint32_t *targets, size_t T) {
  const size_t step = (size_t)gridDim.x * blockDim.x;
  for (size_t t = (size_t)blockIdx.x * blockDim.x + threadIdx.x; t < T; t += step) {
    const double exact = (double)row_max[t] + log((double)row_sum[t]);
    lse[t] = (float)exact;
    nll[t] = targets[t] == SB_NO_TARGET ? 0.0 : exact - (double)target_logit[t];
  }
}

sb_status sb_cuda_xent_end(sb_backend *backend, sb_stream stream, float *lse, double *nll,
                           const float *row_max, const float *row_sum, const float *target_logit,
                           const uint32_t *targets, size_t T) {
  if (T == 0) return SB_OK;
  return sb_cuda_launch(backend, sb_cuda_stream(backend, stream), "xent_end", end_rows,
                        sb_cuda_blocks_for(backend, T), SB_CUDA_THREADS, 0, lse, nll, row_max,
                        row_sum, target_logit, targets, T);
}

static __global__ void __launch_bounds__(SB_CUDA_THREADS)
    end_divergence(double *kl, const float *lse, const float *ref_lse, const uint32_t *targets,
                   size_t T) {
  const size_t step = (size_t)gridDim.x * blockDim.x;
  for (size_t t = (size_t)blockIdx.x * blockDim.x + threadIdx.x; t < T; t += step)
    kl[t] = targets[t] == SB_NO_TARGET ? 0.0 : kl[t] + ((double)lse[t] - (double)ref_lse[t]);
}

sb_status sb_cuda_kl_end(sb_backend *backend, sb_stream stream, double *kl, const float *lse,
                         const float *ref_lse, const uint32_t *targets, size_t T) {
  if (T == 0) return SB_OK;
  return sb_cuda_launch(backend, sb_cuda_stream(backend, stream), "kl_end", end_divergence,
                        sb_cuda_blocks_for(backend, T), SB_CUDA_THREADS, 0, kl, lse, ref_lse,
                        targets, T);
}

/* All kernels from here on: one block per token, neighbouring threads on neighbouring logits. */

static __global__ void __launch_bounds__(SB_CUDA_THREADS)
    soft_max(float *row_max, float *row_sum, float *target_logit, uint32_t *argmax,
             const float *logits, const uint32_t *targets, size_t v0, size_t nv) {
  __shared__ float scratch[SB_WARP];
  __shared__ unsigned first[SB_WARP];
  const size_t t = blockIdx.x;
  const float *row = logits + t * nv;
  const float before = row_max[t];
  float high = -INFINITY;
  for (size_t j = threadIdx.x; j < nv; j += blockDim.x) high = row[j] > high ? row[j] : high;
  high = sb_block_max(high, scratch);
  const bool rises = high > before;
  const float now = rises ? high : before;
  if (rises && argmax) {  /* the same for the whole block */
    unsigned inverse = 0; /* nv - j for the first place j: the largest such number */
    for (size_t j = threadIdx.x; j < nv; j += blockDim.x)
      if (row[j] == high && inverse == 0) inverse = (unsigned)(nv - j);
    inverse = sb_block_max(inverse, first);
    if (threadIdx.x == 0) argmax[t] = (uint32_t)(v0 + nv - inverse);
  }
  /* A row with only -inf so far has no sum. A NaN reaches the sum all the same. */
  const float shift = now == -INFINITY ? 0.0f : now;
  float sum = 0.0f;
  for (size_t j = threadIdx.x; j < nv; j += blockDim.x) sum += expf(row[j] - shift);
  sum = sb_block_sum(sum, scratch);
  if (threadIdx.x != 0) return;
  float kept = row_sum[t];
  if (rises) kept *= before == -INFINITY ? 0.0f : expf(before - high);
  row_max[t] = now;
  row_sum[t] = kept + sum;
  const size_t target = targets[t];
  if (target != SB_NO_TARGET && target >= v0 && target - v0 < nv)
    target_logit[t] = row[target - v0];
}

sb_status sb_cuda_xent_chunk(sb_backend *backend, sb_stream stream, float *row_max, float *row_sum,
                             float *target_logit, uint32_t *argmax, const float *logits,
                             const uint32_t *targets, size_t T, size_t v0, size_t nv) {
  if (T == 0 || nv == 0) return SB_OK;
  return sb_cuda_launch(backend, sb_cuda_stream(backend, stream), "xent_chunk", soft_max,
                        (unsigned)T, SB_CUDA_THREADS, 0, row_max, row_sum, target_logit, argmax,
                        logits, targets, v0, nv);
}

static __global__ void __launch_bounds__(SB_CUDA_THREADS)
    soft_max_back(float *logits, const float *lse, const uint32_t *targets, float scale, size_t v0,
                  size_t nv) {
  const size_t t = blockIdx.x, target = targets[t];
  const float minus = lse[t];
  float *row = logits + t * nv;
  for (size_t j = threadIdx.x; j < nv; j += blockDim.x) {
    const float p = scale * expf(row[j] - minus);
    row[j] = target == SB_NO_TARGET ? 0.0f : v0 + j == target ? p - scale : p;
  }
}

sb_status sb_cuda_xent_back_chunk(sb_backend *backend, sb_stream stream, float *logits,
                                  const float *lse, const uint32_t *targets, float scale, size_t T,
                                  size_t v0, size_t nv) {
  if (T == 0 || nv == 0) return SB_OK;
  return sb_cuda_launch(backend, sb_cuda_stream(backend, stream), "xent_back_chunk", soft_max_back,
                        (unsigned)T, SB_CUDA_THREADS, 0, logits, lse, targets, scale, v0, nv);
}

/* Terms of both signs cancel, so they are summed in double; those with p_ref = 0 are 0 whatever p
 * is. */
static __global__ void __launch_bounds__(SB_CUDA_THREADS)
    divergence(double *kl, const float *ref_logits, const float *ref_lse, const float *logits,
               const float *lse, size_t nv) {
  __shared__ double scratch[SB_WARP];
  const size_t t = blockIdx.x;
  const float *ref = ref_logits + t * nv, *other = logits + t * nv;
  const float ref_norm = ref_lse[t], norm = lse[t];
  double sum = 0.0;
  for (size_t j = threadIdx.x; j < nv; j += blockDim.x) {
    const float log_ref = ref[j] - ref_norm, p = expf(log_ref);
    if (p != 0.0f) sum += (double)(p * (log_ref - (other[j] - norm)));
  }
  sum = sb_block_sum(sum, scratch);
  if (threadIdx.x == 0) kl[t] += sum;
}

sb_status sb_cuda_kl_chunk(sb_backend *backend, sb_stream stream, double *kl,
                           const float *ref_logits, const float *ref_lse, const float *logits,
                           const float *lse, size_t T, size_t nv) {
  if (T == 0 || nv == 0) return SB_OK;
  return sb_cuda_launch(backend, sb_cuda_stream(backend, stream), "kl_chunk", divergence,
                        (unsigned)T, SB_CUDA_THREADS, 0, kl, ref_logits, ref_lse, logits, lse, nv);
}

static __global__ void __launch_bounds__(SB_CUDA_THREADS)
    divergence_back(float *logits, const float *lse, const float *ref_logits, const float *ref_lse,
                    const uint32_t *targets, float scale, size_t nv) {
  const size_t t = blockIdx.x;
  const bool counts = targets[t] != SB_NO_TARGET;
  const float norm = lse[t], ref_norm = ref_lse[t];
  const float *ref = ref_logits + t * nv;
  float *row = logits + t * nv;
  for (size_t j = threadIdx.x; j < nv; j += blockDim.x)
    row[j] = counts ? scale * (expf(row[j] - norm) - expf(ref[j] - ref_norm)) : 0.0f;
}

sb_status sb_cuda_kl_back_chunk(sb_backend *backend, sb_stream stream, float *logits,
                                const float *lse, const float *ref_logits, const float *ref_lse,
                                const uint32_t *targets, float scale, size_t T, size_t nv) {
  if (T == 0 || nv == 0) return SB_OK;
  return sb_cuda_launch(backend, sb_cuda_stream(backend, stream), "kl_back_chunk", divergence_back,
                        (unsigned)T, SB_CUDA_THREADS, 0, logits, lse, ref_logits, ref_lse, targets,
                        scale, nv);
}
