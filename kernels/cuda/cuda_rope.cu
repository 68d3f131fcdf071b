#include "kernels/cuda/cuda.h"

/* One thread per pair; x is [T, heads, 2, half]. */
static __global__ void __launch_bounds__(SB_CUDA_THREADS)
    rotate(float *x, const float *cos_sin, size_t pairs, size_t heads, size_t half, float sign) {
  const size_t step = (size_t)gridDim.x * blockDim.x;
  for (size_t p = (size_t)blockIdx.x * blockDim.x + threadIdx.x; p < pairs; p += step) {
    const size_t i = p % half, head = p / half,
                 t = head / heads; /* `head` counts the heads of all tokens */
    const float *angle = cos_sin + (t * half + i) * 2;
    float *low = x + head * 2 * half + i, *high = low + half;
    const float c = angle[0], s = sign * angle[1], a = *low, b = *high;
    *low = a * c - b * s;
    *high = b * c + a * s;
  }
}

sb_status sb_cuda_rope(sb_backend *backend, sb_stream stream, void *x, const float *cos_sin,
                       size_t T, size_t heads, size_t head_dim, bool inverse) {
  const size_t half = head_dim / 2, pairs = T * heads * half;
  if (pairs == 0) return SB_OK;
  return sb_cuda_launch(backend, sb_cuda_stream(backend, stream), "rope", rotate,
                        sb_cuda_blocks_for(backend, pairs), SB_CUDA_THREADS, 0, (float *)x, cos_sin,
                        pairs, heads, half, inverse ? -1.0f : 1.0f);
}
