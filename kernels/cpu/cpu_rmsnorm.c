#include "kernels/cpu/cpu.h"

#include <math.h>

#include "base/memory.h"
#include "kernels/cpu/vec.h"

/* dw is summed over tokens in runs of this many, then over the runs: a cut that the shape alone
 * decides. */
enum { RUN = 64 };

static float sum_squares(const float *x, size_t h) {
  sb_vf even = sb_vf_set(0.0f), odd = even;
  size_t i = 0;
  for (; i + 2 * SB_LANES <= h; i += 2 * SB_LANES) {
    sb_vf a = sb_vf_load(x + i), b = sb_vf_load(x + i + SB_LANES);
    even += a * a;
    odd += b * b;
  }
  for (; i < h; i += SB_LANES) {
    sb_vf a = h - i < SB_LANES ? sb_vf_load_part(x + i, h - i, 0.0f) : sb_vf_load(x + i);
    even += a * a;
  }
  return sb_vf_sum(even + odd);
}

sb_status sb_cpu_rmsnorm(sb_backend *backend, sb_stream stream, void *y, float *rstd, const void *x,
                         const float *w, size_t T, size_t h, float eps) {
  (void)stream;
#pragma omp parallel for schedule(static) num_threads(sb_cpu_threads(backend)) if (T * h > 8192)
  for (size_t t = 0; t < T; t++) {
    const float *in = (const float *)x + t * h;
    float inverse = 1.0f / sqrtf(sum_squares(in, h) / (float)h + eps);
    rstd[t] = inverse;
    if (backend->operand == SB_F32) {
      float *out = (float *)y + t * h;
      for (size_t i = 0; i < h; i++) out[i] = in[i] * inverse * w[i];
    } else {
      uint16_t *out = (uint16_t *)y + t * h;
      for (size_t i = 0; i < h; i++) out[i] = sb_f32_to_bf16(in[i] * inverse * w[i]);
    }
  }
  return SB_OK;
}

/* sum_i dy_i w_i x_i */
static float weighted_dot(const float *dy, const float *x, const float *w, size_t h) {
  sb_vf sum = sb_vf_set(0.0f);
  size_t i = 0;
  for (; i + SB_LANES <= h; i += SB_LANES)
    sum += sb_vf_load(dy + i) * sb_vf_load(w + i) * sb_vf_load(x + i);
  if (i < h)
    sum += sb_vf_load_part(dy + i, h - i, 0.0f) * sb_vf_load_part(w + i, h - i, 0.0f) *
           sb_vf_load_part(x + i, h - i, 0.0f);
  return sb_vf_sum(sum);
}

/* With r = rstd: dx_i = r (w_i dy_i - x_i r^2 / h sum_j w_j dy_j x_j), dw_i = sum_t dy_i x_i r. */
sb_status sb_cpu_rmsnorm_back(sb_backend *backend, sb_stream stream, void *dx, float *dw,
                              const void *dy, const void *x, const float *w, const float *rstd,
                              size_t T, size_t h) {
  (void)stream;
  size_t runs = sb_div_up(T, RUN);
  float *partial = NULL; /* [runs][h] */
  if (dw) {
    size_t count;
    if (!sb_mul_size(runs, h, &count))
      return sb_fail(SB_ERR_MEMORY, "RMSNorm of %zu x %zu overflows", T, h);
    SB_TRY(sb_cpu_scratch(backend, SB_CPU_SLOT_THREADS, count, sizeof *partial, &partial));
  }
  int threads = sb_cpu_threads(backend);
#pragma omp parallel for schedule(static) num_threads(threads) if (T * h > 8192)
  for (size_t run = 0; run < runs; run++) {
    float *part = dw ? partial + run * h : NULL;
    if (dw) memset(part, 0, h * sizeof *part);
    for (size_t t = run * RUN; t < sb_min_size(T, (run + 1) * RUN); t++) {
      const float *up = (const float *)dy + t * h, *in = (const float *)x + t * h;
      float *out = (float *)dx + t * h, r = rstd[t];
      float along = weighted_dot(up, in, w, h) * r * r * r / (float)h;
      if (dw) {
        for (size_t i = 0; i < h; i++) {
          out[i] += r * w[i] * up[i] - along * in[i];
          part[i] += up[i] * in[i] * r;
        }
      } else {
        for (size_t i = 0; i < h; i++) out[i] += r * w[i] * up[i] - along * in[i];
      }
    }
  }
  if (!dw) return SB_OK;
  for (size_t run = 0; run < runs; run++)
    for (size_t i = 0; i < h; i++) dw[i] += partial[run * h + i];
  return SB_OK;
}
