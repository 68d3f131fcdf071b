#include "kernels/cpu/cpu_attention.h"

#include <math.h>

#include "base/memory.h"
#include "kernels/cpu/cpu_tile.h"

enum { ROWS = SB_CPU_TILE_ROWS, SUB = SB_ATTENTION_SUB };

sb_status sb_attention_shape_of(sb_attention_shape *out, const sb_attention_args *x) {
  const size_t T = x->T, heads = x->heads, kv_heads = x->kv_heads, d = x->d;
  if (kv_heads == 0 || heads % kv_heads != 0 || d == 0)
    return sb_fail(SB_ERR_INTERNAL, "attention with %zu heads of %zu over %zu KV heads", heads, d,
                   kv_heads);
  *out = (sb_attention_shape){
      .T = T, .heads = heads, .kv_heads = kv_heads, .d = d, .group = heads / kv_heads};
  out->tiles = sb_div_up(T, ROWS);
  out->padded = sb_div_up(d, SUB) * SUB;
  out->scale = (float)(1.0 / sqrt((double)d));
  size_t all;
  if (!sb_mul_size(out->tiles * ROWS, out->padded, &out->head) ||
      !sb_mul_size(out->head, heads, &all) || !sb_mul_size(all, 64 * sizeof(float), &all))
    return sb_fail(SB_ERR_MEMORY, "attention over %zu tokens, %zu heads of %zu overflows", T, heads,
                   d);
  return SB_OK;
}

void sb_attention_pack(const sb_attention_shape *shape, int threads, float *packed,
                       const float *x) {
  size_t stride = shape->kv_heads * shape->d;
#pragma omp parallel for collapse(2) schedule(static) num_threads(threads)
  for (size_t head = 0; head < shape->kv_heads; head++)
    for (size_t tile = 0; tile < shape->tiles; tile++)
      sb_cpu_pack_rows(packed + head * shape->head + tile * ROWS * shape->padded, shape->padded,
                       x + tile * ROWS * stride + head * shape->d, stride,
                       sb_min_size(ROWS, shape->T - tile * ROWS), shape->d);
}

void sb_attention_scores(const sb_attention_shape *shape, float *scores, const float *keys,
                         const float *queries_t, bool diagonal) {
  size_t k = shape->padded;
  if (!diagonal) {
    sb_cpu_tile(ROWS, ROWS, k, keys, k, 1, queries_t, ROWS, scores, ROWS, false);
    return;
  }
  for (size_t s = 0; s < ROWS; s += SUB)
    sb_cpu_tile(SUB, ROWS - s, k, keys + s * k, k, 1, queries_t + s, ROWS, scores + s * ROWS + s,
                ROWS, false);
}

void sb_attention_from_keys(const sb_attention_shape *shape, float *out, const float *x,
                            const float *rows, bool diagonal) {
  size_t n = shape->padded;
  if (!diagonal) {
    sb_cpu_tile(ROWS, n, ROWS, x, 1, ROWS, rows, n, out, n, true);
    return;
  }
  for (size_t s = 0; s < ROWS; s += SUB)
    sb_cpu_tile(SUB, n, s + SUB, x + s, 1, ROWS, rows, n, out + s * n, n, true);
}

void sb_attention_from_queries(const sb_attention_shape *shape, float *out, const float *x,
                               const float *rows, bool diagonal) {
  size_t n = shape->padded;
  if (!diagonal) {
    sb_cpu_tile(ROWS, n, ROWS, x, ROWS, 1, rows, n, out, n, true);
    return;
  }
  for (size_t s = 0; s < ROWS; s += SUB)
    sb_cpu_tile(SUB, n, ROWS - s, x + s * ROWS + s, ROWS, 1, rows + s * n, n, out + s * n, n, true);
}
