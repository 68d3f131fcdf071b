#include "quant/gptq_pivots.h"

#include "base/memory.h"

enum { STRIP = 64 }; /* rows that are downloaded at a time */

typedef struct reader {
  sb_backend *backend;
  sb_stream stream;
  bool on_device;
  float *strip; /* [STRIP, width], of a device's rows */
} reader;

/* out[r] = rows[r * ld + r], r = 0 .. count - 1. */
static sb_status read_diagonal(const reader *a, const float *rows, size_t ld, size_t count,
                               float *out) {
  const sb_backend_ops *op = a->backend->op;
  if (!a->on_device) {
    for (size_t r = 0; r < count; r++) out[r] = rows[r * ld + r];
    return SB_OK;
  }
  for (size_t first = 0; first < count; first += STRIP) {
    const size_t n = sb_min_size(STRIP, count - first);
    const float *from = rows + first * ld + first;
    SB_TRY(
        op->download(a->backend, a->stream, a->strip, from, ((n - 1) * ld + n) * sizeof *a->strip));
    SB_TRY(op->sync(a->backend, a->stream));
    for (size_t r = 0; r < n; r++) out[first + r] = a->strip[r * ld + r];
  }
  return SB_OK;
}

/* out = the diagonal of the factor. Collective. */
static sb_status factor_diagonal(const reader *a, sb_moments *m, size_t input, float *out) {
  const size_t width = sb_moments_width(m, input);
  sb_status status = SB_OK;
  for (size_t begin = 0, end = 0; begin < width; begin = end) {
    const float *panel;
    size_t ld;
    SB_TRY(sb_moments_panel(m, input, begin, &end, &panel, &ld));
    SB_THEN(read_diagonal(a, panel, ld, end - begin, out + begin));
  }
  return status;
}

/* out[c] = 1 / (U_cc^2 H_cc), from out[c] = U_cc. Collective. */
static sb_status divide(const reader *a, sb_moments *m, size_t input, float *diagonal, float *out) {
  const size_t width = sb_moments_width(m, input);
  sb_status status = SB_OK;
  for (size_t begin = 0, end = 0; begin < width; begin = end) {
    const float *panel;
    SB_TRY(sb_moments_rows(m, input, begin, &end, &panel));
    SB_THEN(read_diagonal(a, panel + begin, width, end - begin, diagonal));
    for (size_t c = begin; status == SB_OK && c < end; c++)
      out[c] = (float)(1.0 / ((double)out[c] * (double)out[c] * (double)diagonal[c - begin]));
  }
  return status;
}

sb_status sb_gptq_pivots(sb_moments *m, const sb_world *world, sb_backend *b, sb_stream stream,
                         size_t input, float *shares) {
  const size_t width = sb_moments_width(m, input);
  reader a = {.backend = b, .stream = stream, .on_device = sb_moments_on_device(m) && !b->unified};
  float *diagonal = NULL;
  sb_status status = sb_alloc_raw(&diagonal, width, sizeof *diagonal, "diagonal of moments");
  if (a.on_device)
    SB_THEN(sb_alloc_raw(&a.strip, STRIP * width, sizeof *a.strip, "rows of moments"));
  SB_AGREE(world, status);
  SB_THEN(factor_diagonal(&a, m, input, shares));
  SB_THEN(divide(&a, m, input, diagonal, shares));
  status = sb_world_agree(world, status);
  sb_free(&diagonal);
  sb_free(&a.strip);
  return status;
}
