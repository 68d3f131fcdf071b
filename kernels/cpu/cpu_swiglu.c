#include "kernels/cpu/cpu.h"

#include "base/memory.h"
#include "kernels/cpu/vec.h"

enum { PIECE = 4096, SMALL = 16384 };

/* 1 / (1 + e^-x) */
SB_INLINE sb_vf sigmoid(sb_vf x) {
  return sb_vf_set(1.0f) / (sb_vf_set(1.0f) + sb_vf_exp(-x));
}

/* n numbers at most PIECE; y may be gate or up. */
static void gated(float *y, const float *gate, const float *up, size_t n) {
  size_t i = 0;
  for (; i + SB_LANES <= n; i += SB_LANES) {
    sb_vf x = sb_vf_load(gate + i);
    sb_vf_store(y + i, x * sigmoid(x) * sb_vf_load(up + i));
  }
  if (i < n) {
    sb_vf x = sb_vf_load_part(gate + i, n - i, 0.0f);
    sb_vf_store_part(y + i, x * sigmoid(x) * sb_vf_load_part(up + i, n - i, 0.0f), n - i);
  }
}

sb_status sb_cpu_swiglu(sb_backend *backend, sb_stream stream, void *y, const void *gate,
                        const void *up, size_t n) {
  (void)stream;
  size_t pieces = sb_div_up(n, PIECE);
#pragma omp parallel for schedule(static) num_threads(sb_cpu_threads(backend)) if (n > SMALL)
  for (size_t piece = 0; piece < pieces; piece++) {
    const size_t at = piece * PIECE, count = sb_min_size(PIECE, n - at);
    const float *g = (const float *)gate + at, *u = (const float *)up + at;
    if (backend->operand == SB_F32) {
      gated((float *)y + at, g, u, count);
    } else {
      float between[PIECE];
      gated(between, g, u, count);
      sb_cpu_from_f32((uint16_t *)y + at, backend->operand, between, count);
    }
  }
  return SB_OK;
}

/* s = sigmoid(g): silu = g s, silu' = s (1 + g (1 - s)). out may be NULL; each result may be an
 * input. */
static void gated_back(float *dgate, float *dup, float *out, const float *dy, const float *gate,
                       const float *up, size_t n) {
  for (size_t i = 0; i < n; i += SB_LANES) {
    size_t left = n - i;
    bool whole = left >= SB_LANES;
    sb_vf x = whole ? sb_vf_load(gate + i) : sb_vf_load_part(gate + i, left, 0.0f);
    sb_vf times = whole ? sb_vf_load(up + i) : sb_vf_load_part(up + i, left, 0.0f);
    sb_vf back = whole ? sb_vf_load(dy + i) : sb_vf_load_part(dy + i, left, 0.0f);
    sb_vf s = sigmoid(x), silu = x * s;
    sb_vf to_gate = back * times * s * (sb_vf_set(1.0f) + x * (sb_vf_set(1.0f) - s)),
          to_up = back * silu;
    if (whole) {
      if (out) sb_vf_store(out + i, silu * times);
      sb_vf_store(dgate + i, to_gate);
      sb_vf_store(dup + i, to_up);
    } else {
      if (out) sb_vf_store_part(out + i, silu * times, left);
      sb_vf_store_part(dgate + i, to_gate, left);
      sb_vf_store_part(dup + i, to_up, left);
    }
  }
}

sb_status sb_cpu_swiglu_back(sb_backend *backend, sb_stream stream, void *dgate, void *dup, void *y,
                             const void *dy, const void *gate, const void *up, size_t n) {
  (void)stream;
  size_t pieces = sb_div_up(n, PIECE);
#pragma omp parallel for schedule(static) num_threads(sb_cpu_threads(backend)) if (n > SMALL)
  for (size_t piece = 0; piece < pieces; piece++) {
    const size_t at = piece * PIECE, count = sb_min_size(PIECE, n - at);
    const float *d = (const float *)dy + at, *g = (const float *)gate + at,
                *u = (const float *)up + at;
    if (backend->operand == SB_F32) {
      gated_back((float *)dgate + at, (float *)dup + at, y ? (float *)y + at : NULL, d, g, u,
                 count);
    } else {
      float to_gate[PIECE], to_up[PIECE], out[PIECE];
      gated_back(to_gate, to_up, out, d, g, u, count);
      sb_cpu_from_f32((uint16_t *)dgate + at, backend->operand, to_gate, count);
      sb_cpu_from_f32((uint16_t *)dup + at, backend->operand, to_up, count);
      if (y) sb_cpu_from_f32((uint16_t *)y + at, backend->operand, out, count);
    }
  }
  return SB_OK;
}

sb_status sb_cpu_add(sb_backend *backend, sb_stream stream, void *y, const void *x, size_t n) {
  (void)stream;
  float *to = y;
  const float *from = x;
#pragma omp parallel for simd schedule(static)                                                     \
    num_threads(sb_cpu_threads(backend)) if (parallel                                              \
                                             : n > SMALL)
  for (size_t i = 0; i < n; i++) to[i] += from[i];
  return SB_OK;
}
