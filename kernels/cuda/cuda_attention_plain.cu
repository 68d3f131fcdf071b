/* Attention without tensor cores, in f32 and for any head. A warp has one query, or one key. For
 * scores it takes the other side 32 at a time, one per lane. For sums it takes the other side one
 * after another, and the lanes share the columns. */
#include "kernels/cuda/cuda_attention_shape.h"
#include "kernels/cuda/reduce.cuh"

/* A dot product of two heads, in the order of columns. */
__device__ __forceinline__ float dot(const float *a, const float *b, int d) {
  float sum = 0.0f;
  for (int c = 0; c < d; c++) sum = fmaf(a[c], b[c], sum);
  return sum;
}

/* Grid: (queries, heads), one warp per block. Shared memory: d floats for the output. */
__global__ void attention_plain(attention_shape s, float *o, float *lse, const float *q,
                                const float *k, const float *v) {
  float *out = (float *)sb_shared_bytes();
  const int lane = (int)threadIdx.x, t = (int)blockIdx.x, head = (int)blockIdx.y;
  const size_t d = (size_t)s.d, kv_row = (size_t)s.kv_heads * d, kv = (size_t)(head / s.group) * d;
  const size_t at = ((size_t)t * (size_t)s.heads + (size_t)head) * d;
  float high = -INFINITY, total = 0.0f;
  for (int c = lane; c < s.d; c += 32) out[c] = 0.0f;
  for (int first = 0; first <= t; first += 32) {
    const int key = first + lane;
    const float score =
        key <= t ? dot(q + at, k + (size_t)key * kv_row + kv, s.d) * s.scale : -INFINITY;
    const float highest = fmaxf(high, sb_warp_max(score)), correction = expf(high - highest);
    const float p = expf(score - highest);
    total = fmaf(total, correction, sb_warp_sum(p));
    high = highest;
    for (int c = lane; c < s.d; c += 32) out[c] *= correction;
    for (int i = 0; i < 32 && first + i <= t; i++) {
      const float share = sb_warp_get(p, i);
      const float *value = v + (size_t)(first + i) * kv_row + kv;
      for (int c = lane; c < s.d; c += 32) out[c] = fmaf(share, value[c], out[c]);
    }
  }
  for (int c = lane; c < s.d; c += 32) o[at + (size_t)c] = out[c] / total;
  if (lane == 0) lse[(size_t)head * (size_t)s.T + (size_t)t] = high + logf(total);
}

/* Grid: (queries, heads), one warp per block. */
__global__ void attention_plain_queries(attention_shape s, float *dq, const float *d_o,
                                        const float *lse, const float *delta, const float *q,
                                        const float *k, const float *v) {
  float *sum = (float *)sb_shared_bytes();
  const int lane = (int)threadIdx.x, t = (int)blockIdx.x, head = (int)blockIdx.y;
  const size_t d = (size_t)s.d, kv_row = (size_t)s.kv_heads * d, kv = (size_t)(head / s.group) * d;
  const size_t at = ((size_t)t * (size_t)s.heads + (size_t)head) * d,
               row = (size_t)head * (size_t)s.T + (size_t)t;
  for (int c = lane; c < s.d; c += 32) sum[c] = 0.0f;
  for (int first = 0; first <= t; first += 32) {
    const int key = first + lane;
    float ds = 0.0f;
    if (key <= t) {
      const size_t other = (size_t)key * kv_row + kv;
      const float p = expf(fmaf(dot(q + at, k + other, s.d), s.scale, -lse[row]));
      ds = p * (dot(d_o + at, v + other, s.d) - delta[row]) * s.scale;
    }
    for (int i = 0; i < 32 && first + i <= t; i++) {
      const float share = sb_warp_get(ds, i);
      for (int c = lane; c < s.d; c += 32)
        sum[c] = fmaf(share, k[(size_t)(first + i) * kv_row + kv + (size_t)c], sum[c]);
    }
  }
  for (int c = lane; c < s.d; c += 32) dq[at + (size_t)c] = sum[c];
}

/* Grid: (keys, KV heads), one warp per block. Shared memory: two sums of d floats. */
__global__ void attention_plain_keys(attention_shape s, float *dk, float *dv, const float *d_o,
                                     const float *lse, const float *delta, const float *q,
                                     const float *k, const float *v) {
  float *sum_k = (float *)sb_shared_bytes(), *sum_v = sum_k + s.d;
  const int lane = (int)threadIdx.x, key = (int)blockIdx.x, kv = (int)blockIdx.y;
  const size_t d = (size_t)s.d, q_row = (size_t)s.heads * d;
  const size_t at = ((size_t)key * (size_t)s.kv_heads + (size_t)kv) * d;
  for (int c = lane; c < s.d; c += 32) sum_k[c] = sum_v[c] = 0.0f;
  for (int head = kv * s.group; head < (kv + 1) * s.group; head++)
    for (int first = key; first < s.T; first += 32) {
      const int t = first + lane;
      float p = 0.0f, ds = 0.0f;
      if (t < s.T) {
        const size_t other = (size_t)t * q_row + (size_t)head * d,
                     row = (size_t)head * (size_t)s.T + (size_t)t;
        p = expf(fmaf(dot(q + other, k + at, s.d), s.scale, -lse[row]));
        ds = p * (dot(d_o + other, v + at, s.d) - delta[row]) * s.scale;
      }
      for (int i = 0; i < 32 && first + i < s.T; i++) {
        const float share_v = sb_warp_get(p, i), share_k = sb_warp_get(ds, i);
        const size_t other = (size_t)(first + i) * q_row + (size_t)head * d;
        for (int c = lane; c < s.d; c += 32) {
          sum_v[c] = fmaf(share_v, d_o[other + (size_t)c], sum_v[c]);
          sum_k[c] = fmaf(share_k, q[other + (size_t)c], sum_k[c]);
        }
      }
    }
  for (int c = lane; c < s.d; c += 32) {
    dk[at + (size_t)c] = sum_k[c];
    dv[at + (size_t)c] = sum_v[c];
  }
}

sb_status sb_cuda_attention_plain(sb_backend *backend, cudaStream_t stream,
                                  const attention_shape *s, float *o, float *lse, const float *q,
                                  const float *k, const float *v) {
  return sb_cuda_launch(backend, stream, "attention", attention_plain,
                        dim3((unsigned)s->T, (unsigned)s->heads), SB_WARP,
                        (size_t)s->d * sizeof(float), *s, o, lse, q, k, v);
}

sb_status sb_cuda_attention_back_plain(sb_backend *backend, cudaStream_t stream,
                                       const attention_shape *s, float *dq, float *dk, float *dv,
                                       const float *d_o, const float *lse, const float *delta,
                                       const float *q, const float *k, const float *v) {
  SB_TRY(sb_cuda_launch(backend, stream, "attention_back", attention_plain_keys,
                        dim3((unsigned)s->T, (unsigned)s->kv_heads), SB_WARP,
                        2 * (size_t)s->d * sizeof(float), *s, dk, dv, d_o, lse, delta, q, k, v));
  return sb_cuda_launch(backend, stream, "attention_back", attention_plain_queries,
                        dim3((unsigned)s->T, (unsigned)s->heads), SB_WARP,
                        (size_t)s->d * sizeof(float), *s, dq, d_o, lse, delta, q, k, v);
}
