#include "measure/numbers.h"

#include "base/memory.h"

enum { AT_ONCE = 1 << 20 };

/* Uniform in [-1.7, 1.7): of variance 1. */
static float number(size_t k) {
  const uint64_t bits = ((uint64_t)k + 1) * UINT64_C(0x9E3779B97F4A7C15);
  return (float)((bits ^ (bits >> 29)) * UINT64_C(0xBF58476D1CE4E5B9) >> 40) * (3.4f * 0x1p-24f) -
         1.7f;
}

sb_status sb_numbers_upload(sb_backend *backend, void *device, sb_dtype dtype, size_t count) {
  const size_t size = sb_dtype_size(dtype);
  float *wide = NULL;
  void *narrow = NULL;
  sb_status status = sb_alloc_raw(&wide, AT_ONCE, sizeof *wide, "numbers to compute with");
  SB_THEN(sb_alloc_raw(&narrow, AT_ONCE, size, "numbers to compute with"));
  for (size_t at = 0, part; at < count && status == SB_OK; at += part) {
    part = sb_min_size(AT_ONCE, count - at);
    for (size_t k = 0; k < part; k++) wide[k] = number(at + k);
    sb_from_f32(narrow, dtype, wide, part);
    status = backend->op->upload(backend, NULL, (char *)device + at * size, narrow, part * size);
    SB_THEN(backend->op->sync(backend, NULL));
  }
  sb_free(&wide);
  sb_free(&narrow);
  return status;
}
