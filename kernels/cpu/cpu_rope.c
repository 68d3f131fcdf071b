#include "kernels/cpu/cpu.h"

sb_status sb_cpu_rope(sb_backend *backend, sb_stream stream, void *x, const float *cos_sin,
                      size_t T, size_t heads, size_t head_dim, bool inverse) {
  (void)stream;
  size_t half = head_dim / 2;
  float sign = inverse ? -1.0f : 1.0f;
#pragma omp parallel for schedule(static)                                                          \
    num_threads(sb_cpu_threads(backend)) if (T * heads * head_dim > 8192)
  for (size_t t = 0; t < T; t++) {
    const float *angle = cos_sin + t * half * 2;
    for (size_t head = 0; head < heads; head++) {
      float *restrict low = (float *)x + (t * heads + head) * head_dim, *restrict high = low + half;
#pragma omp simd
      for (size_t i = 0; i < half; i++) {
        float c = angle[2 * i], s = sign * angle[2 * i + 1], a = low[i], b = high[i];
        low[i] = a * c - b * s;
        high[i] = b * c + a * s;
      }
    }
  }
  return SB_OK;
}
