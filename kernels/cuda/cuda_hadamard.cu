/* Hadamard transforms of activations: a warp has a block of channels of one token. */
#include "kernels/cuda/cuda_hadamard.h"
#include "kernels/cuda/cuda_hadamard.cuh"

/* What is transformed: T rows of n numbers, in blocks of `block`. */
typedef struct hadamard_job {
  size_t T, n, block;
  const uint16_t *before, *after; /* [n], or NULL */
  bool add;
} hadamard_job;

template <typename Y, typename X>
static __global__ void __launch_bounds__(SB_CUDA_THREADS)
    hadamard(Y *dst, const X *src, hadamard_job a) {
  const size_t blocks = (a.n + a.block - 1) / a.block, warps = SB_CUDA_THREADS / SB_WARP;
  const size_t lane = threadIdx.x % SB_WARP;
  for (size_t item = blockIdx.x * warps + threadIdx.x / SB_WARP; item < a.T * blocks;
       item += gridDim.x * warps) {
    const size_t row = item / blocks * a.n, first = item % blocks * a.block,
                 end = first + a.block < a.n ? first + a.block : a.n;
    for (size_t c = first, run; c < end; c += run) {
      float x[HADAMARD_EACH];
      run = sb_hadamard_run(end - c);
#pragma unroll
      for (int e = 0; e < HADAMARD_EACH; e++) {
        const size_t i = (size_t)e * SB_WARP + lane;
        x[e] = i < run ? sb_number(src[row + c + i]) : 0.0f;
        if (a.before && i < run) x[e] = __fmul_rn(x[e], sb_grid_from_fp16(a.before[c + i]));
      }
      hadamard_run(x, (int)run);
#pragma unroll
      for (int e = 0; e < HADAMARD_EACH; e++) {
        const size_t i = (size_t)e * SB_WARP + lane;
        if (i >= run) continue;
        if (a.after) x[e] = __fmul_rn(x[e], sb_grid_from_fp16(a.after[c + i]));
        if (a.add) x[e] = __fadd_rn(x[e], sb_number(dst[row + c + i]));
        sb_store_number(dst + row + c + i, x[e]);
      }
    }
  }
}

template <typename Y, typename X>
static sb_status launch(sb_backend *backend, cudaStream_t queue, Y *dst, const X *src,
                        const hadamard_job &a) {
  if (a.T == 0 || a.n == 0) return SB_OK;
  return sb_cuda_launch(backend, queue, "hadamard", hadamard<Y, X>,
                        sb_cuda_blocks_for(backend, a.T * sb_div_up(a.n, a.block) * SB_WARP),
                        SB_CUDA_THREADS, 0, dst, src, a);
}

sb_status sb_cuda_hadamard(sb_backend *backend, sb_stream stream, void *dst, const void *src,
                           sb_dtype dtype, size_t T, size_t n, size_t block, const uint16_t *before,
                           const uint16_t *after) {
  const hadamard_job a = {T, n, block, before, after, false};
  return sb_with_number(dtype, "numbers to transform", [&](auto type) {
    typedef decltype(type) X;
    return launch(backend, sb_cuda_stream(backend, stream), (X *)dst, (const X *)src, a);
  });
}

sb_status sb_cuda_hadamard_into(sb_backend *backend, cudaStream_t queue, float *dst,
                                const void *src, sb_dtype dtype, size_t T, size_t n, size_t block,
                                const uint16_t *before, const uint16_t *after, bool add) {
  const hadamard_job a = {T, n, block, before, after, add};
  return sb_with_number(dtype, "numbers to transform", [&](auto type) {
    return launch(backend, queue, dst, (const decltype(type) *)src, a);
  });
}
