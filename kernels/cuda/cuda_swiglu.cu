#include "kernels/cuda/number.cuh"

static __device__ __forceinline__ float sigmoid(float x) {
  return 1.0f / (1.0f + expf(-x));
}

/* y may be gate or up: each thread reads its element of both before it writes. */
template <typename Y>
static __global__ void __launch_bounds__(SB_CUDA_THREADS)
    gated(Y *y, const float *gate, const float *up, size_t n) {
  const size_t step = (size_t)gridDim.x * blockDim.x;
  for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += step) {
    const float g = gate[i];
    sb_store_number(&y[i], g * sigmoid(g) * up[i]);
  }
}

sb_status sb_cuda_swiglu(sb_backend *backend, sb_stream stream, void *y, const void *gate,
                         const void *up, size_t n) {
  if (n == 0) return SB_OK;
  return sb_with_operand(backend, [&](auto type) {
    typedef decltype(type) Y;
    return sb_cuda_launch(backend, sb_cuda_stream(backend, stream), "swiglu", gated<Y>,
                          sb_cuda_blocks_for(backend, n), SB_CUDA_THREADS, 0, (Y *)y,
                          (const float *)gate, (const float *)up, n);
  });
}

/* s = sigmoid(g): silu = g s, silu' = s (1 + g (1 - s)). */
template <typename Y>
static __global__ void __launch_bounds__(SB_CUDA_THREADS)
    gated_back(Y *dgate, Y *dup, Y *y, const float *dy, const float *gate, const float *up,
               size_t n) {
  const size_t step = (size_t)gridDim.x * blockDim.x;
  for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += step) {
    const float g = gate[i], u = up[i], d = dy[i], s = sigmoid(g), silu = g * s;
    if (y) sb_store_number(&y[i], silu * u);
    sb_store_number(&dgate[i], d * u * s * (1.0f + g * (1.0f - s)));
    sb_store_number(&dup[i], d * silu);
  }
}

sb_status sb_cuda_swiglu_back(sb_backend *backend, sb_stream stream, void *dgate, void *dup,
                              void *y, const void *dy, const void *gate, const void *up, size_t n) {
  if (n == 0) return SB_OK;
  return sb_with_operand(backend, [&](auto type) {
    typedef decltype(type) Y;
    return sb_cuda_launch(backend, sb_cuda_stream(backend, stream), "swiglu_back", gated_back<Y>,
                          sb_cuda_blocks_for(backend, n), SB_CUDA_THREADS, 0, (Y *)dgate, (Y *)dup,
                          (Y *)y, (const float *)dy, (const float *)gate, (const float *)up, n);
  });
}

static __global__ void __launch_bounds__(SB_CUDA_THREADS)
    add_to(float *y, const float *x, size_t n) {
  const size_t step = (size_t)gridDim.x * blockDim.x;
  for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += step) y[i] += x[i];
}

sb_status sb_cuda_add(sb_backend *backend, sb_stream stream, void *y, const void *x, size_t n) {
  if (n == 0) return SB_OK;
  return sb_cuda_launch(backend, sb_cuda_stream(backend, stream), "add", add_to,
                        sb_cuda_blocks_for(backend, n), SB_CUDA_THREADS, 0, (float *)y,
                        (const float *)x, n);
}
