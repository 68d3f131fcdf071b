#include "kernels/cpu/cpu.h"

#include <math.h>

#include "kernels/cpu/vec.h"

SB_INLINE sb_vf load(const float *p, size_t left, float fill) {
  return left < SB_LANES ? sb_vf_load_part(p, left, fill) : sb_vf_load(p);
}

static float row_highest(const float *x, size_t n) {
  sb_vf high = sb_vf_set(-INFINITY);
  for (size_t j = 0; j < n; j += SB_LANES) high = sb_vf_max(load(x + j, n - j, -INFINITY), high);
  return sb_vf_highest(high);
}

/* sum_j exp(x_j - shift) */
static float row_exp_sum(const float *x, size_t n, float shift) {
  sb_vf even = sb_vf_set(0.0f), odd = even, minus = sb_vf_set(shift);
  size_t j = 0;
  for (; j + 2 * SB_LANES <= n; j += 2 * SB_LANES) {
    even += sb_vf_exp(sb_vf_load(x + j) - minus);
    odd += sb_vf_exp(sb_vf_load(x + j + SB_LANES) - minus);
  }
  for (; j < n; j += SB_LANES) even += sb_vf_exp(load(x + j, n - j, -INFINITY) - minus);
  return sb_vf_sum(even + odd);
}

sb_status sb_cpu_xent_begin(sb_backend *backend, sb_stream stream, float *row_max, float *row_sum,
                            float *target_logit, uint32_t *argmax, size_t T) {
  (void)backend, (void)stream;
  for (size_t t = 0; t < T; t++) {
    row_max[t] = -INFINITY;
    row_sum[t] = target_logit[t] = 0.0f;
    if (argmax) argmax[t] = 0;
  }
  return SB_OK;
}

sb_status sb_cpu_xent_chunk(sb_backend *backend, sb_stream stream, float *row_max, float *row_sum,
                            float *target_logit, uint32_t *argmax, const float *logits,
                            const uint32_t *targets, size_t T, size_t v0, size_t nv) {
  (void)stream;
#pragma omp parallel for schedule(static) num_threads(sb_cpu_threads(backend)) if (T * nv > 8192)
  for (size_t t = 0; t < T; t++) {
    const float *row = logits + t * nv;
    float before = row_max[t], high = row_highest(row, nv);
    if (high > before) {
      if (argmax)
        for (size_t j = 0; j < nv; j++)
          if (row[j] == high) {
            argmax[t] = (uint32_t)(v0 + j);
            break;
          }
      row_max[t] = high;
      row_sum[t] *= before == -INFINITY ? 0.0f : expf(before - high);
    }
    /* A row with only -inf so far has no sum. A NaN reaches the sum all the same. */
    float shift = row_max[t] == -INFINITY ? 0.0f : row_max[t];
    row_sum[t] += row_exp_sum(row, nv, shift);
    if (targets[t] != SB_NO_TARGET && targets[t] >= v0 && targets[t] - v0 < nv)
      target_logit[t] = row[targets[t] - v0];
  }
  return SB_OK;
}

sb_status sb_cpu_xent_end(sb_backend *backend, sb_stream stream, float *lse, double *nll,
                          const float *row_max, const float *row_sum, const float *target_logit,
                          const uint32_t *targets, size_t T) {
  (void)backend, (void)stream;
  for (size_t t = 0; t < T; t++) {
    const double exact = (double)row_max[t] + log((double)row_sum[t]);
    lse[t] = (float)exact;
    nll[t] = targets[t] == SB_NO_TARGET ? 0.0 : exact - (double)target_logit[t];
  }
  return SB_OK;
}

sb_status sb_cpu_xent_back_chunk(sb_backend *backend, sb_stream stream, float *logits,
                                 const float *lse, const uint32_t *targets, float scale, size_t T,
                                 size_t v0, size_t nv) {
  (void)stream;
#pragma omp parallel for schedule(static) num_threads(sb_cpu_threads(backend)) if (T * nv > 8192)
  for (size_t t = 0; t < T; t++) {
    float *row = logits + t * nv;
    if (targets[t] == SB_NO_TARGET) {
      memset(row, 0, nv * sizeof *row);
      continue;
    }
    sb_vf minus = sb_vf_set(lse[t]), factor = sb_vf_set(scale);
    size_t j = 0;
    for (; j + SB_LANES <= nv; j += SB_LANES)
      sb_vf_store(row + j, factor * sb_vf_exp(sb_vf_load(row + j) - minus));
    if (j < nv) {
      sb_vf x = sb_vf_load_part(row + j, nv - j, 0.0f);
      sb_vf_store_part(row + j, factor * sb_vf_exp(x - minus), nv - j);
    }
    if (targets[t] >= v0 && targets[t] - v0 < nv) row[targets[t] - v0] -= scale;
  }
  return SB_OK;
}

/* Terms p_ref (log p_ref - log p); those with p_ref = 0 are 0 whatever p is. */
SB_INLINE sb_vf kl_terms(sb_vf ref, sb_vf ref_lse, sb_vf other, sb_vf lse) {
  sb_vf log_ref = ref - ref_lse, p = sb_vf_exp(log_ref);
  return sb_vf_select(p != sb_vf_set(0.0f), p * (log_ref - (other - lse)), sb_vf_set(0.0f));
}

sb_status sb_cpu_kl_chunk(sb_backend *backend, sb_stream stream, double *kl,
                          const float *ref_logits, const float *ref_lse, const float *logits,
                          const float *lse, size_t T, size_t nv) {
  (void)stream;
#pragma omp parallel for schedule(static) num_threads(sb_cpu_threads(backend)) if (T * nv > 8192)
  for (size_t t = 0; t < T; t++) {
    const float *ref = ref_logits + t * nv, *other = logits + t * nv;
    sb_vf ref_norm = sb_vf_set(ref_lse[t]), norm = sb_vf_set(lse[t]);
    double total = 0.0;
    /* Terms of both signs cancel, so short f32 runs are folded into a double. */
    for (size_t j = 0; j < nv;) {
      sb_vf sum = sb_vf_set(0.0f);
      for (int step = 0; step < 8 && j < nv; step++, j += SB_LANES)
        sum += kl_terms(load(ref + j, nv - j, -INFINITY), ref_norm, load(other + j, nv - j, 0.0f),
                        norm);
      double lane[SB_LANES];
      for (int i = 0; i < SB_LANES; i++) lane[i] = (double)sum[i];
      for (int width = SB_LANES / 2; width > 0; width /= 2)
        for (int i = 0; i < width; i++) lane[i] += lane[i + width];
      total += lane[0];
    }
    kl[t] += total;
  }
  return SB_OK;
}

sb_status sb_cpu_kl_end(sb_backend *backend, sb_stream stream, double *kl, const float *lse,
                        const float *ref_lse, const uint32_t *targets, size_t T) {
  (void)backend, (void)stream;
  for (size_t t = 0; t < T; t++)
    kl[t] = targets[t] == SB_NO_TARGET ? 0.0 : kl[t] + ((double)lse[t] - (double)ref_lse[t]);
  return SB_OK;
}

sb_status sb_cpu_kl_back_chunk(sb_backend *backend, sb_stream stream, float *logits,
                               const float *lse, const float *ref_logits, const float *ref_lse,
                               const uint32_t *targets, float scale, size_t T, size_t nv) {
  (void)stream;
#pragma omp parallel for schedule(static) num_threads(sb_cpu_threads(backend)) if (T * nv > 8192)
  for (size_t t = 0; t < T; t++) {
    float *row = logits + t * nv;
    const float *ref = ref_logits + t * nv;
    if (targets[t] == SB_NO_TARGET) {
      memset(row, 0, nv * sizeof *row);
      continue;
    }
    const sb_vf norm = sb_vf_set(lse[t]), ref_norm = sb_vf_set(ref_lse[t]),
                factor = sb_vf_set(scale);
    for (size_t j = 0; j < nv; j += SB_LANES) {
      const sb_vf p = sb_vf_exp(load(row + j, nv - j, 0.0f) - norm);
      const sb_vf slope = factor * (p - sb_vf_exp(load(ref + j, nv - j, 0.0f) - ref_norm));
      if (nv - j < SB_LANES)
        sb_vf_store_part(row + j, slope, nv - j);
      else
        sb_vf_store(row + j, slope);
    }
  }
  return SB_OK;
}
