#include "kernels/cpu/cpu.h"

#include "base/memory.h"
#include "kernels/cpu/vec.h"

enum { PIECE = 4096, SMALL = 16384 };

/* 1 / (1 + e^-x) */
SB_INLINE sb_vf sigmoid(sb_vf x) {
  return sb_vf_set(1.0f) / (sb_vf_set(1.0f) + sb_vf_exp(-x));
}

sb_status sb_cpu_swiglu(sb_backend *backend, sb_stream stream, void *y, const void *gate, const void *up,
                        size_t n) {
  (void)stream;
  size_t pieces = sb_div_up(n, PIECE);
#pragma omp parallel for schedule(static) num_threads(sb_cpu_threads(backend)) if (n > SMALL)
  for (size_t piece = 0; piece < pieces; piece++) {
    size_t end = sb_min_size(n, (piece + 1) * PIECE), i = piece * PIECE;
    const float *g = gate, *u = up;
    float *out = y;
    for (; i + SB_LANES <= end; i += SB_LANES) {
      sb_vf x = sb_vf_load(g + i);
      sb_vf_store(out + i, x * sigmoid(x) * sb_vf_load(u + i));
    }
    if (i < end) {
      sb_vf x = sb_vf_load_part(g + i, end - i, 0.0f);
      sb_vf_store_part(out + i, x * sigmoid(x) * sb_vf_load_part(u + i, end - i, 0.0f), end - i);
    }
  }
  return SB_OK;
}

/* s = sigmoid(g): silu = g s, silu' = s (1 + g (1 - s)). */
sb_status sb_cpu_swiglu_back(sb_backend *backend, sb_stream stream, void *dgate, void *dup, void *y,
                             const void *dy, const void *gate, const void *up, size_t n) {
  (void)stream;
  size_t pieces = sb_div_up(n, PIECE);
#pragma omp parallel for schedule(static) num_threads(sb_cpu_threads(backend)) if (n > SMALL)
  for (size_t piece = 0; piece < pieces; piece++) {
    size_t end = sb_min_size(n, (piece + 1) * PIECE);
    const float *g = gate, *u = up, *d = dy;
    float *dg = dgate, *du = dup, *out = y;
    for (size_t i = piece * PIECE; i < end; i += SB_LANES) {
      size_t left = end - i;
      bool whole = left >= SB_LANES;
      sb_vf x = whole ? sb_vf_load(g + i) : sb_vf_load_part(g + i, left, 0.0f);
      sb_vf times = whole ? sb_vf_load(u + i) : sb_vf_load_part(u + i, left, 0.0f);
      sb_vf back = whole ? sb_vf_load(d + i) : sb_vf_load_part(d + i, left, 0.0f);
      sb_vf s = sigmoid(x), silu = x * s;
      sb_vf to_gate = back * times * s * (sb_vf_set(1.0f) + x * (sb_vf_set(1.0f) - s)), to_up = back * silu;
      if (whole) {
        if (out) sb_vf_store(out + i, silu * times);
        sb_vf_store(dg + i, to_gate);
        sb_vf_store(du + i, to_up);
      } else {
        if (out) sb_vf_store_part(out + i, silu * times, left);
        sb_vf_store_part(dg + i, to_gate, left);
        sb_vf_store_part(du + i, to_up, left);
      }
    }
  }
  return SB_OK;
}

sb_status sb_cpu_add(sb_backend *backend, sb_stream stream, void *y, const void *x, size_t n) {
  (void)stream;
  float *to = y;
  const float *from = x;
#pragma omp parallel for simd schedule(static) num_threads(sb_cpu_threads(backend)) if (parallel : n > SMALL)
  for (size_t i = 0; i < n; i++) to[i] += from[i];
  return SB_OK;
}
