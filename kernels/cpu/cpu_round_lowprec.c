/* Works on bands of rows as high as a scale block, cut into strips of columns that stay in cache: a
 * pass for the amax of every column, one for scales, one that codes. */
#include "kernels/cpu/cpu.h"

#include "base/memory.h"
#include "kernels/shared/checks.h"
#include "kernels/shared/lowprec_code.h"

enum {
  STRIP = 512, /* columns; a multiple of every tile */
  BAND = 16    /* rows at a time where scale blocks do not say */
};

typedef struct strip {
  const sb_lowprec_args *args;
  sb_lowprec_scale tensor;
  size_t row, rows, col, cols; /* of the strip */
  bool rotated;                /* rows are in `turned` */
  float turned[SB_HADAMARD][STRIP];
  float in[STRIP], out[STRIP];        /* a row whose type is not f32 */
  uint32_t high[STRIP];               /* sb_magnitude of each column's largest number */
  float encode[STRIP], decode[STRIP]; /* each column's scale */
} strip;

/* Row r of the strip as floats. */
static const float *row_in(strip *s, size_t r) {
  const sb_lowprec_args *a = s->args;
  const size_t at = (s->row + r) * a->cols + s->col;
  if (s->rotated) return s->turned[r];
  if (a->src_dtype == SB_F32) return (const float *)a->src + at;
  sb_cpu_to_f32(s->in, (const char *)a->src + at * sb_dtype_size(a->src_dtype), a->src_dtype,
                s->cols);
  return s->in;
}

static void rotate(strip *s) {
  s->rotated = false;
  if (!s->args->rule.hadamard || s->rows < SB_HADAMARD) return;
  for (size_t r = 0; r < SB_HADAMARD; r++) {
    const float *x = row_in(s, r), sign = sb_hadamard_sign((uint32_t)r);
    for (size_t c = 0; c < s->cols; c++) s->turned[r][c] = sign * x[c];
  }
  for (size_t apart = 1; apart < SB_HADAMARD; apart *= 2)
    for (size_t r = 0; r < SB_HADAMARD; r++) {
      if (r & apart) continue;
      float *restrict x = s->turned[r], *restrict y = s->turned[r + apart];
      for (size_t c = 0; c < s->cols; c++) {
        const float sum = x[c] + y[c], difference = x[c] - y[c];
        x[c] = sum;
        y[c] = difference;
      }
    }
  s->rotated = true;
}

/* Fills `high`. */
static void find_high(strip *s) {
  memset(s->high, 0, s->cols * sizeof *s->high);
  for (size_t r = 0; r < s->rows; r++) {
    const float *x = row_in(s, r);
    for (size_t c = 0; c < s->cols; c++) {
      const uint32_t magnitude = sb_magnitude(x[c]);
      s->high[c] = magnitude > s->high[c] ? magnitude : s->high[c];
    }
  }
}

static uint32_t highest(const uint32_t *high, size_t count) {
  uint32_t out = 0;
  for (size_t c = 0; c < count; c++) out = high[c] > out ? high[c] : out;
  return out;
}

/* The sum of squared errors of a block of columns [c, c + n) under a scale: columns first, then
 * over columns in order. */
static float error_of(strip *s, size_t c, size_t n, sb_lowprec_scale scale) {
  float sums[SB_HADAMARD] = {0}, sum = 0.0f;
  for (size_t r = 0; r < s->rows; r++) {
    const float *x = row_in(s, r) + c;
    for (size_t i = 0; i < n; i++) {
      const float q = sb_element_nearest(SB_ELEMENT_E2M1, x[i] * scale.encode) * scale.decode;
      const float error = fmaf(q, s->tensor.decode, -x[i]);
      sums[i] = fmaf(error, error, sums[i]);
    }
  }
  for (size_t i = 0; i < n; i++) sum += sums[i];
  return sum;
}

/* Fills `encode` and `decode`. */
static void choose_scales(strip *s) {
  const sb_lowprec_rule *rule = &s->args->rule;
  const size_t width = rule->tile_cols ? rule->tile_cols : s->cols;
  for (size_t c = 0; c < s->cols; c += width) {
    const size_t n = sb_min_size(width, s->cols - c);
    const uint32_t amax = rule->tile_rows ? highest(s->high + c, n) : 0;
    sb_lowprec_scale scale = sb_lowprec_block_scale(rule, amax, s->tensor, 1.0f);
    if (rule->two_scales) {
      const sb_lowprec_scale other = sb_lowprec_block_scale(rule, amax, s->tensor, 1.5f);
      if (error_of(s, c, n, other) < error_of(s, c, n, scale)) scale = other;
    }
    for (size_t i = 0; i < n; i++) {
      s->encode[c + i] = scale.encode;
      s->decode[c + i] = scale.decode;
    }
  }
}

/* Codes and decodes one row; element and way are constants where it is inlined. */
static inline __attribute__((always_inline)) void code(const strip *s, float *out, const float *in,
                                                       sb_lowprec_row row, float tensor,
                                                       sb_element element, bool stochastic) {
  for (size_t c = 0; c < s->cols; c++) {
    const float v = in[c] * s->encode[c];
    const float q =
        stochastic
            ? sb_element_stochastic(element, v, sb_lowprec_random(row, (uint32_t)(s->col + c)))
            : sb_element_nearest(element, v);
    out[c] = q * s->decode[c] * tensor;
  }
}

static void code_row(const strip *s, float *out, const float *in, sb_lowprec_row row) {
  const float tensor = s->args->tensor_scale ? 1.0f : s->tensor.decode;
  const bool stochastic = s->args->rule.stochastic;
  switch (s->args->rule.element) {
  case SB_ELEMENT_E4M3:
    if (stochastic)
      code(s, out, in, row, tensor, SB_ELEMENT_E4M3, true);
    else
      code(s, out, in, row, tensor, SB_ELEMENT_E4M3, false);
    break;
  case SB_ELEMENT_E5M2:
    if (stochastic)
      code(s, out, in, row, tensor, SB_ELEMENT_E5M2, true);
    else
      code(s, out, in, row, tensor, SB_ELEMENT_E5M2, false);
    break;
  default:
    if (stochastic)
      code(s, out, in, row, tensor, SB_ELEMENT_E2M1, true);
    else
      code(s, out, in, row, tensor, SB_ELEMENT_E2M1, false);
  }
}

static void code_strip(strip *s) {
  const sb_lowprec_args *a = s->args;
  if (a->rule.tile_rows > 0) find_high(s);
  choose_scales(s);
  for (size_t r = 0; r < s->rows; r++) {
    const size_t at = (s->row + r) * a->cols + s->col;
    float *out = a->dst_dtype == SB_F32 ? (float *)a->dst + at : s->out;
    code_row(s, out, row_in(s, r), sb_lowprec_row_of(a->key, s->row + r));
    if (out == s->out)
      sb_cpu_from_f32((char *)a->dst + at * sb_dtype_size(a->dst_dtype), a->dst_dtype, out,
                      s->cols);
  }
}

/* Runs over all strips: codes them, or, if `amax` is not NULL, finds the largest magnitude. */
static void every_strip(sb_backend *backend, const sb_lowprec_args *args, sb_lowprec_scale tensor,
                        uint32_t *amax) {
  const size_t height = args->rule.hadamard    ? SB_HADAMARD
                        : args->rule.tile_rows ? args->rule.tile_rows
                                               : BAND;
  const size_t bands = sb_div_up(args->rows, height), strips = sb_div_up(args->cols, STRIP);
  uint32_t high = 0;
#pragma omp parallel num_threads(sb_cpu_threads(backend)) if (args->rows * args->cols > 16384)     \
    reduction(max                                                                                  \
              : high)
  {
    strip s;
    s.args = args;
    s.tensor = tensor;
#pragma omp for schedule(static)
    for (size_t i = 0; i < bands * strips; i++) {
      s.row = i / strips * height;
      s.col = i % strips * STRIP;
      s.rows = sb_min_size(height, args->rows - s.row);
      s.cols = sb_min_size(STRIP, args->cols - s.col);
      rotate(&s);
      if (amax) {
        find_high(&s);
        const uint32_t here = highest(s.high, s.cols);
        high = here > high ? here : high;
      } else {
        code_strip(&s);
      }
    }
  }
  if (amax) *amax = high;
}

sb_status sb_cpu_round_lowprec(sb_backend *backend, sb_stream stream, const sb_lowprec_args *args) {
  const sb_lowprec_scale none = {1.0f, 1.0f};
  uint32_t amax = 0;
  SB_TRY(sb_check_lowprec(args));
  if (args->rule.element == SB_ELEMENT_NONE) {
    if (args->tensor_scale) *args->tensor_scale = 1.0f;
    return sb_cpu_convert(backend, stream, args->dst, args->dst_dtype, args->src, args->src_dtype,
                          args->rows * args->cols);
  }
  if (sb_lowprec_has_tensor_scale(&args->rule)) every_strip(backend, args, none, &amax);
  const sb_lowprec_scale tensor = sb_lowprec_tensor_scale(&args->rule, amax);
  every_strip(backend, args, tensor, NULL);
  if (args->tensor_scale) *args->tensor_scale = tensor.decode;
  return SB_OK;
}
