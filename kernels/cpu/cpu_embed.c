#include "kernels/cpu/cpu.h"

#include "base/memory.h"

/* Columns of the gradient per piece of work. Every piece sees all tokens, in their order. */
enum { COLUMNS = 64 };

sb_status sb_cpu_embed(sb_backend *backend, sb_stream stream, void *x, const uint32_t *ids,
                       const void *table, sb_dtype table_dtype, size_t T, size_t h, size_t v0,
                       size_t nv) {
  (void)stream;
  if (!sb_dtype_is_weight(table_dtype))
    return sb_fail(SB_ERR_UNSUPPORTED, "embedding table of type %s: F32, F16 or BF16 is needed",
                   sb_dtype_name(table_dtype));
  size_t row = h * sb_dtype_size(table_dtype);
#pragma omp parallel for schedule(static) num_threads(sb_cpu_threads(backend)) if (T * h > 8192)
  for (size_t t = 0; t < T; t++) {
    if (ids[t] < v0 || ids[t] - v0 >= nv) continue;
    const void *from = (const char *)table + (ids[t] - v0) * row;
    float *to = (float *)x + t * h;
    if (table_dtype == SB_BF16) {
      const uint16_t *half = from;
      for (size_t i = 0; i < h; i++) to[i] = sb_bf16_to_f32(half[i]);
    } else {
      sb_to_f32(to, from, table_dtype, h);
    }
  }
  return SB_OK;
}

sb_status sb_cpu_embed_back(sb_backend *backend, sb_stream stream, float *dtable,
                            const uint32_t *ids, const void *dx, size_t T, size_t h, size_t v0,
                            size_t nv) {
  (void)stream;
#pragma omp parallel for schedule(static) num_threads(sb_cpu_threads(backend)) if (T * h > 8192)
  for (size_t first = 0; first < h; first += COLUMNS) {
    size_t width = sb_min_size(COLUMNS, h - first);
    for (size_t t = 0; t < T; t++) {
      if (ids[t] < v0 || ids[t] - v0 >= nv) continue;
      float *to = dtable + (ids[t] - v0) * h + first;
      const float *from = (const float *)dx + t * h + first;
      for (size_t i = 0; i < width; i++) to[i] += from[i];
    }
  }
  return SB_OK;
}
