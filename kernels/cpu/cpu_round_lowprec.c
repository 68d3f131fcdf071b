/* Works on strips: bands of rows, as high as a scale block or RUN rows, by columns that stay in
 * cache. A pass over a strip finds the amax of its blocks, one codes it; scales are chosen between
 * them, for all blocks at a time. Loops are plain, so that compilers make vectors of them: the
 * functions of lowprec_code.h have neither branches nor calls once element and rule are constants.
 */
#include "kernels/cpu/cpu.h"

#include "base/memory.h"
#include "kernels/cpu/vec.h"
#include "kernels/shared/checks.h"
#include "kernels/shared/lowprec_code.h"

enum {
  STRIP = 512,        /* columns of a strip; a multiple of every block's */
  NARROW_STRIP = 128, /* of one whose rows are rotated in the nearest cache, or of few */
  ENOUGH = 32,        /* wide strips for all threads */
  RUN = 16 /* rows of a band of low blocks; the narrowest block of a row; columns coded at
              once */
};

typedef struct strip {
  const sb_lowprec_args *args;
  sb_lowprec_scale tensor;
  size_t row, rows, col, cols; /* place in the matrix, and size */
  bool rotated;                /* rows are in `turned` */
  float turned[SB_HADAMARD][NARROW_STRIP];
  float in[STRIP], out[STRIP]; /* a row whose type is not f32 */

  /* Block i of block row j: number j * blocks + i. At most STRIP in all. */
  size_t tall, blocks; /* rows of a block; blocks in a row of them */
  unsigned shift;      /* column c is in block c >> shift */
  float high[STRIP];   /* amax, as bits; before that, of each column */
  float encode[STRIP], decode[STRIP];
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

/* The rotation of SB_LANES columns in registers. */
SB_INLINE void rotate_lanes(sb_vf x[SB_HADAMARD]) {
#pragma GCC unroll 16
  for (int r = 0; r < SB_HADAMARD; r++) x[r] *= sb_vf_set(sb_hadamard_sign((uint32_t)r));
#pragma GCC unroll 4
  for (int apart = 1; apart < SB_HADAMARD; apart *= 2)
#pragma GCC unroll 16
    for (int r = 0; r < SB_HADAMARD; r++) {
      if (r & apart) continue;
      const sb_vf sum = x[r] + x[r + apart], difference = x[r] - x[r + apart];
      x[r] = sum;
      x[r + apart] = difference;
    }
}

/* Fills `turned` if the strip's rows are rotated. */
static void rotate(strip *s) {
  const sb_lowprec_args *a = s->args;
  sb_vf x[SB_HADAMARD];
  s->rotated = false;
  if (!a->rule.hadamard || s->rows < SB_HADAMARD) return;
  if (a->src_dtype != SB_F32)
    for (size_t r = 0; r < SB_HADAMARD; r++)
      memcpy(s->turned[r], row_in(s, r), s->cols * sizeof(float));
  const float *from = a->src_dtype == SB_F32 ? row_in(s, 0) : s->turned[0];
  const size_t ld = a->src_dtype == SB_F32 ? a->cols : NARROW_STRIP;
  for (size_t c = 0; c < s->cols; c += SB_LANES) {
    const size_t left = s->cols - c;
    for (size_t r = 0; r < SB_HADAMARD; r++)
      x[r] = left >= SB_LANES ? sb_vf_load(from + r * ld + c)
                              : sb_vf_load_part(from + r * ld + c, left, 0.0f);
    rotate_lanes(x);
    for (size_t r = 0; r < SB_HADAMARD; r++) sb_vf_store(s->turned[r] + c, x[r]);
  }
  s->rotated = true;
}

/* ---- amax ---- */

SB_INLINE float higher(float high, float x) {
  const uint32_t a = sb_magnitude(high), b = sb_magnitude(x);
  return sb_lowprec_float(a > b ? a : b);
}

/* high[c] = the largest magnitude of column c. */
static void find_column_highs(strip *s) {
  memset(s->high, 0, s->cols * sizeof *s->high);
  for (size_t r = 0; r < s->rows; r++) {
    const float *x = row_in(s, r);
    for (size_t c = 0; c < s->cols; c++) s->high[c] = higher(s->high[c], x[c]);
  }
}

/* The largest magnitude of n numbers. */
SB_INLINE float highest(const float *x, size_t n) {
  float lane[SB_LANES] = {0}, high = 0.0f;
  size_t c = 0;
  if (n >= SB_LANES) {
    sb_vi most = sb_vi_magnitude(sb_vf_load(x));
    for (c = SB_LANES; c + SB_LANES <= n; c += SB_LANES)
      most = sb_vi_max(most, sb_vi_magnitude(sb_vf_load(x + c)));
    sb_vf_store(lane, (sb_vf)most);
    for (size_t i = 0; i < SB_LANES; i++) high = higher(high, lane[i]);
  }
  for (; c < n; c++) high = higher(high, x[c]);
  return high;
}

/* high[i] = the largest magnitude of x[i * width] and the following `width` numbers; x may be high.
 * The width is a constant where this is inlined. */
SB_INLINE void fold_by(float *high, const float *x, size_t cols, size_t width) {
  const size_t whole = cols / width;
  for (size_t i = 0; i < whole; i++) high[i] = highest(x + i * width, width);
  if (whole * width < cols) high[whole] = highest(x + whole * width, cols - whole * width);
}
static void fold(float *high, const float *x, size_t cols, size_t width) {
  if (width == 16)
    fold_by(high, x, cols, 16);
  else if (width == 32)
    fold_by(high, x, cols, 32);
  else
    fold_by(high, x, cols, width);
}

/* high = the amax of every block. */
static void find_amax(strip *s) {
  const size_t width = s->args->rule.tile_cols;
  if (s->tall == 1) {
    for (size_t r = 0; r < s->rows; r++)
      fold(s->high + r * s->blocks, row_in(s, r), s->cols, width);
  } else {
    find_column_highs(s);
    if (width > 1) fold(s->high, s->high, s->cols, width);
  }
}

/* ---- scales ---- */

/* The scales of `count` blocks by a rule whose `scale` is a constant where this is inlined. */
SB_INLINE void scales_by(const strip *s, sb_scale_rule scale, size_t count, float stretch,
                         float *encode, float *decode) {
  sb_lowprec_rule rule = s->args->rule;
  rule.scale = scale;
  for (size_t i = 0; i < count; i++) {
    const sb_lowprec_scale one =
        sb_lowprec_block_scale(&rule, sb_magnitude(s->high[i]), s->tensor, stretch);
    encode[i] = one.encode;
    decode[i] = one.decode;
  }
}

static void choose_scales(strip *s, size_t count) {
  const sb_scale_rule scale = s->args->rule.scale;
  switch (scale) {
  case SB_SCALE_F32:
    scales_by(s, SB_SCALE_F32, count, 1.0f, s->encode, s->decode);
    break;
  case SB_SCALE_POWER_DOWN:
    scales_by(s, SB_SCALE_POWER_DOWN, count, 1.0f, s->encode, s->decode);
    break;
  case SB_SCALE_E4M3:
    scales_by(s, SB_SCALE_E4M3, count, 1.0f, s->encode, s->decode);
    break;
  case SB_SCALE_FLOOR:
    scales_by(s, SB_SCALE_FLOOR, count, 1.0f, s->encode, s->decode);
    break;
  case SB_SCALE_UP:
    scales_by(s, SB_SCALE_UP, count, 1.0f, s->encode, s->decode);
    break;
  default:
    scales_by(s, scale, count, 1.0f, s->encode, s->decode);
  }
}

/* sums[c] += the squared error of number c of a row, in n columns from c on, under the scales of
 * the row's blocks: one for all of them, or one `each`. */
SB_INLINE void add_errors_run(const strip *s, float *sums, const float *x, size_t c, size_t n,
                              const float *encode, const float *decode, bool each) {
  for (size_t i = 0; i < n; i++) {
    const size_t at = each ? c + i : c >> s->shift;
    const float q = sb_element_nearest(SB_ELEMENT_E2M1, x[c + i] * encode[at]) * decode[at];
    const float error = fmaf(q, s->tensor.decode, -x[c + i]);
    sums[c + i] = fmaf(error, error, sums[c + i]);
  }
}
static void add_errors(const strip *s, float *sums, const float *x, const float *encode,
                       const float *decode) {
  size_t c = 0;
  if (s->shift == 0) {
    add_errors_run(s, sums, x, 0, s->cols, encode, decode, true);
    return;
  }
  for (; c + RUN <= s->cols; c += RUN) add_errors_run(s, sums, x, c, RUN, encode, decode, false);
  if (c < s->cols) add_errors_run(s, sums, x, c, s->cols - c, encode, decode, false);
}

/* Keeps the other of two scales where a block errs less with it. Errors are added down columns
 * first, then over the columns of a block in order. */
static void choose_of_two(strip *s, size_t count) {
  float encode[STRIP], decode[STRIP], near[STRIP], wide[STRIP];
  scales_by(s, SB_SCALE_E4M3, count, 1.5f, encode, decode);
  for (size_t first = 0; first < count; first += s->blocks) {
    const size_t row = first / s->blocks * s->tall, end = sb_min_size(row + s->tall, s->rows);
    memset(near, 0, sizeof near);
    memset(wide, 0, sizeof wide);
    for (size_t r = row; r < end; r++) {
      const float *x = row_in(s, r);
      add_errors(s, near, x, s->encode + first, s->decode + first);
      add_errors(s, wide, x, encode + first, decode + first);
    }
    for (size_t i = 0; i < s->blocks; i++) {
      float as_it_is = 0.0f, other = 0.0f;
      for (size_t c = i << s->shift; c < sb_min_size((i + 1) << s->shift, s->cols); c++) {
        as_it_is += near[c];
        other += wide[c];
      }
      if (other >= as_it_is) continue;
      s->encode[first + i] = encode[first + i];
      s->decode[first + i] = decode[first + i];
    }
  }
}

/* Fills encode and decode. */
static void find_scales(strip *s) {
  const sb_lowprec_rule *rule = &s->args->rule;
  const bool whole = rule->tile_rows == 0;
  s->tall = whole ? s->rows : rule->tile_rows;
  s->shift = whole ? 31 : (unsigned)__builtin_ctz(rule->tile_cols);
  s->blocks = whole ? 1 : sb_div_up(s->cols, rule->tile_cols);
  const size_t count = sb_div_up(s->rows, s->tall) * s->blocks;
  if (whole) {
    s->encode[0] = s->tensor.encode;
    s->decode[0] = 1.0f;
    return;
  }
  find_amax(s);
  choose_scales(s, count);
  if (rule->two_scales) choose_of_two(s, count);
}

/* ---- coding ---- */

/* Codes and decodes columns [c, c + n) of row r; element and way are constants where this is
 * inlined. They lie in one block, or `each` in its own. */
SB_INLINE void code_run(const strip *s, float *out, const float *in, size_t r, size_t c, size_t n,
                        sb_lowprec_row random, sb_element element, bool stochastic, bool each) {
  const size_t own = r / s->tall * s->blocks + (c >> s->shift);
  const float tensor = s->args->tensor_scale ? 1.0f : s->tensor.decode;
  for (size_t i = 0; i < n; i++) {
    const size_t at = each ? own + i : own;
    const float v = in[c + i] * s->encode[at];
    const float q =
        stochastic ? sb_element_stochastic(element, v,
                                           sb_lowprec_random(random, (uint32_t)(s->col + c + i)))
                   : sb_element_nearest(element, v);
    out[c + i] = q * s->decode[at] * tensor;
  }
}
SB_INLINE void code(const strip *s, float *out, const float *in, size_t r, sb_element element,
                    bool stochastic) {
  const sb_lowprec_row random = sb_lowprec_row_of(s->args->key, s->row + r);
  size_t c = 0;
  if (s->shift == 0) {
    code_run(s, out, in, r, 0, s->cols, random, element, stochastic, true);
    return;
  }
  for (; c + RUN <= s->cols; c += RUN)
    code_run(s, out, in, r, c, RUN, random, element, stochastic, false);
  if (c < s->cols) code_run(s, out, in, r, c, s->cols - c, random, element, stochastic, false);
}

static void code_row(const strip *s, float *out, const float *in, size_t r) {
  const bool stochastic = s->args->rule.stochastic;
  switch (s->args->rule.element) {
  case SB_ELEMENT_E4M3:
    stochastic ? code(s, out, in, r, SB_ELEMENT_E4M3, true)
               : code(s, out, in, r, SB_ELEMENT_E4M3, false);
    break;
  case SB_ELEMENT_E5M2:
    stochastic ? code(s, out, in, r, SB_ELEMENT_E5M2, true)
               : code(s, out, in, r, SB_ELEMENT_E5M2, false);
    break;
  default:
    stochastic ? code(s, out, in, r, SB_ELEMENT_E2M1, true)
               : code(s, out, in, r, SB_ELEMENT_E2M1, false);
  }
}

static void code_strip(strip *s) {
  const sb_lowprec_args *a = s->args;
  const bool coded = a->rule.element != SB_ELEMENT_NONE;
  if (coded) find_scales(s);
  for (size_t r = 0; r < s->rows; r++) {
    const size_t at = (s->row + r) * a->cols + s->col;
    float *out = a->dst_dtype == SB_F32 ? (float *)a->dst + at : s->out;
    if (coded)
      code_row(s, out, row_in(s, r), r);
    else
      memmove(out, row_in(s, r), s->cols * sizeof *out);
    if (out == s->out)
      sb_cpu_from_f32((char *)a->dst + at * sb_dtype_size(a->dst_dtype), a->dst_dtype, out,
                      s->cols);
  }
}

/* Runs over all strips: codes them, or, if `amax` is not NULL, finds the largest magnitude. */
static void every_strip(sb_backend *backend, const sb_lowprec_args *args, sb_lowprec_scale tensor,
                        uint32_t *amax) {
  const size_t height = sb_max_size(args->rule.tile_rows, RUN);
  const size_t bands = sb_div_up(args->rows, height);
  /* Wide strips go through memory in longer runs, narrow ones keep more threads busy. */
  const bool narrow = args->rule.hadamard || bands * sb_div_up(args->cols, STRIP) < ENOUGH;
  const size_t width = narrow ? NARROW_STRIP : STRIP, strips = sb_div_up(args->cols, width);
  const bool many = args->rows * args->cols > 16384;
  uint32_t high = 0;
#pragma omp parallel num_threads(sb_cpu_threads(backend)) reduction(max : high) if (many)
  {
    strip s;
    s.args = args;
    s.tensor = tensor;
#pragma omp for schedule(static)
    for (size_t i = 0; i < bands * strips; i++) {
      s.row = i / strips * height;
      s.col = i % strips * width;
      s.rows = sb_min_size(height, args->rows - s.row);
      s.cols = sb_min_size(width, args->cols - s.col);
      rotate(&s);
      if (amax) {
        find_column_highs(&s);
        for (size_t c = 0; c < s.cols; c++) {
          const uint32_t here = sb_magnitude(s.high[c]);
          high = here > high ? here : high;
        }
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
  if (args->rule.element == SB_ELEMENT_NONE && !args->rule.hadamard) {
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
