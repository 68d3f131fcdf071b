/* Rounding to low precision against a search of tables of all elements, in double, with scales by
 * frexp and plain loops. Everything is exact. */
#include "tests/kernels/check.h"

#include <float.h>
#include <math.h>
#include <string.h>

/* ---- the reference ---- */

/* The value of a non-negative code of an element. */
static double value_of(sb_element e, int code) {
  const int mantissa = e == SB_ELEMENT_E4M3 ? 3 : e == SB_ELEMENT_E5M2 ? 2 : 1;
  const int bias = e == SB_ELEMENT_E4M3 ? 7 : e == SB_ELEMENT_E5M2 ? 15 : 1;
  const int exponent = code >> mantissa, rest = code & ((1 << mantissa) - 1);
  return exponent == 0 ? ldexp(rest, 1 - bias - mantissa)
                       : ldexp((1 << mantissa) + rest, exponent - bias - mantissa);
}
static int codes_of(sb_element e) {
  return e == SB_ELEMENT_E4M3 ? 127 : e == SB_ELEMENT_E5M2 ? 124 : 8;
}
static double nearest(sb_element e, double v) {
  int best = 0;
  for (int code = 1; code < codes_of(e); code++) {
    const double before = fabs(fabs(v) - value_of(e, best)),
                 now = fabs(fabs(v) - value_of(e, code));
    if (now < before || (now == before && code % 2 == 0)) best = code;
  }
  return copysign(value_of(e, best), v);
}
static float top_of(sb_element e) {
  return (float)value_of(e, codes_of(e) - 1);
}
static float to_goal(float goal, float amax) {
  return amax == 0.0f ? 1.0f : fminf(goal / amax, FLT_MAX);
}
static int floor_log2(float x) {
  int e;
  (void)frexpf(x, &e);
  return e - 1;
}

typedef struct scale {
  float encode, decode, tensor;
} scale;

static float mx_scale(const sb_lowprec_rule *rule, float amax) {
  int e = floor_log2(amax) - floor_log2(top_of(rule->element));
  if (amax == 0.0f) return 0x1p-127f;
  if (rule->scale == SB_SCALE_CEIL && ldexp(1.0, floor_log2(amax)) < (double)amax) e++;
  if (rule->scale == SB_SCALE_UP && (double)amax > ldexp(top_of(rule->element), e)) e++;
  if (rule->scale == SB_SCALE_EVEN) { /* half a step below the next power of two, or above */
    const int steps = rule->element == SB_ELEMENT_E2M1   ? 2
                      : rule->element == SB_ELEMENT_E5M2 ? 4
                                                         : 8;
    if ((double)amax >= ldexp(2.0 - 0.5 / steps, floor_log2(amax))) e++;
  }
  return ldexpf(1.0f, e < -127 ? -127 : e);
}

static scale nvfp4_scale(float amax, float tensor_amax, float most, float stretch) {
  const float encode = to_goal(6.0f * most, tensor_amax);
  scale s = {.tensor = 1.0f / encode};
  s.decode = (float)nearest(SB_ELEMENT_E4M3, amax / 6.0f * encode * stretch);
  s.encode = fminf(1.0f / (s.decode * s.tensor), FLT_MAX);
  return s;
}

typedef struct block {
  const float *x; /* the matrix */
  size_t cols, r0, r1, c0, c1;
} block;

static float amax_of(const block *b) {
  float high = 0.0f;
  for (size_t r = b->r0; r < b->r1; r++)
    for (size_t c = b->c0; c < b->c1; c++) high = fmaxf(high, fabsf(b->x[r * b->cols + c]));
  return high;
}

static double error_of(const block *b, scale s) {
  double sum = 0.0;
  for (size_t r = b->r0; r < b->r1; r++)
    for (size_t c = b->c0; c < b->c1; c++) {
      const float x = b->x[r * b->cols + c], v = x * s.encode;
      sum += pow(nearest(SB_ELEMENT_E2M1, v) * s.decode * s.tensor - x, 2);
    }
  return sum;
}

static scale scale_of(const sb_lowprec_rule *rule, const block *b, float tensor_amax) {
  const float amax = amax_of(b), top = top_of(rule->element);
  scale s = {1.0f, 1.0f, 1.0f};
  if (rule->tile_rows == 0) {
    s.encode = to_goal(top, tensor_amax);
    s.tensor = 1.0f / s.encode;
  } else if (rule->scale == SB_SCALE_E4M3) {
    s = nvfp4_scale(amax, tensor_amax, rule->two_scales ? 256.0f : 448.0f, 1.0f);
    const scale wide = nvfp4_scale(amax, tensor_amax, 256.0f, 1.5f);
    if (rule->two_scales && error_of(b, wide) < error_of(b, s)) s = wide;
  } else if (rule->scale == SB_SCALE_F32 || rule->scale == SB_SCALE_POWER_DOWN) {
    s.encode = to_goal(top, amax);
    if (rule->scale == SB_SCALE_POWER_DOWN) s.encode = ldexpf(1.0f, floor_log2(s.encode));
    s.decode = 1.0f / s.encode;
  } else {
    s.decode = mx_scale(rule, amax);
    s.encode = 1.0f / s.decode;
  }
  return s;
}

/* Rotates runs of 16 rows by the matrix itself; exact for the inputs that are rotated here. */
static void rotate(float *x, size_t rows, size_t cols) {
  static const int signs[16] = {1, 1, 1, -1, 1, -1, -1, -1, -1, -1, -1, 1, -1, 1, -1, -1};
  for (size_t r0 = 0; r0 + 16 <= rows; r0 += 16)
    for (size_t c = 0; c < cols; c++) {
      double out[16] = {0};
      for (int i = 0; i < 16; i++)
        for (int j = 0; j < 16; j++) {
          const double sign = __builtin_parity((unsigned)(i & j)) ? -1.0 : 1.0;
          out[i] += sign * signs[j] * x[(r0 + (size_t)j) * cols + c] / 4.0;
        }
      for (int i = 0; i < 16; i++) x[(r0 + (size_t)i) * cols + c] = (float)out[i];
    }
}

/* want = x coded by the rule to nearest, and the scale of the tensor. x is rotated in place. */
static float reference(const sb_lowprec_rule *rule, float *want, float *x, size_t rows, size_t cols,
                       bool apart) {
  const size_t tall = rule->tile_rows ? rule->tile_rows : rows;
  const size_t wide = rule->tile_cols ? rule->tile_cols : cols;
  float tensor = 1.0f;
  if (rule->hadamard) rotate(x, rows, cols);
  const block all = {x, cols, 0, rows, 0, cols};
  const float tensor_amax = amax_of(&all);
  for (size_t r0 = 0; r0 < rows; r0 += tall)
    for (size_t c0 = 0; c0 < cols; c0 += wide) {
      const block b = {x,  cols,
                       r0, r0 + tall < rows ? r0 + tall : rows,
                       c0, c0 + wide < cols ? c0 + wide : cols};
      const scale s = scale_of(rule, &b, tensor_amax);
      tensor = s.tensor;
      for (size_t r = b.r0; r < b.r1; r++)
        for (size_t c = b.c0; c < b.c1; c++) {
          const float v = x[r * cols + c] * s.encode;
          const float q = (float)nearest(rule->element, v) * s.decode;
          want[r * cols + c] = apart ? q : q * s.tensor;
        }
    }
  return tensor;
}

/* ---- tests ---- */

static const struct {
  size_t rows, cols;
} shapes[] = {{1, 1}, {3, 17}, {16, 16}, {33, 130}, {48, 600}, {130, 257}};

/* Multiples of 1/8 whose sums are exact, of very different size by column. */
static float *inputs(size_t rows, size_t cols, uint64_t seed) {
  float *x = check_random(rows * cols, 1.0f, seed);
  for (size_t i = 0; i < rows * cols; i++)
    x[i] = ldexpf(rintf(x[i] * 400.0f) / 8.0f, (int)(i % cols % 7) - 3 + (int)(i / cols % 3));
  return x;
}

static void hold(sb_backend *be, const sb_lowprec_rule *rule, size_t rows, size_t cols,
                 sb_dtype from, sb_dtype to, bool apart) {
  const size_t count = rows * cols;
  float *x = inputs(rows, cols, rows + cols), *src = check_zeros(count), *want = check_zeros(count);
  float *stored = check_zeros(count), *got = check_zeros(count), tensor = -1.0f;
  sb_from_f32(src, from, x, count);
  sb_to_f32(x, src, from, count);
  const float want_tensor = reference(rule, want, x, rows, cols, apart);
  sb_from_f32(stored, to, want, count);
  const sb_lowprec_args args = {.rule = *rule,
                                .rows = rows,
                                .cols = cols,
                                .src = src,
                                .src_dtype = from,
                                .dst = got,
                                .dst_dtype = to,
                                .tensor_scale = apart ? &tensor : NULL};
  assert_ok(be->op->round_lowprec(be, NULL, &args));
  assert_ok(be->op->sync(be, NULL));
  if (apart) assert_memory_equal(&tensor, &want_tensor, sizeof tensor);
  for (size_t i = 0; i < count * sb_dtype_size(to) / 2; i++) {
    uint16_t a, b;
    memcpy(&a, (char *)got + 2 * i, 2);
    memcpy(&b, (char *)stored + 2 * i, 2);
    if (a != b)
      fail_msg("element %d, scale %d, blocks %u x %u, %zu x %zu: half %zu is %04x, not %04x",
               (int)rule->element, (int)rule->scale, rule->tile_rows, rule->tile_cols, rows, cols,
               i, a, b);
  }
  check_done();
}

/* Every precision, operand and GEMM, with every choice of options that changes a rule. */
static void every_rule(void **state) {
  sb_backend *be = *state;
  for (int variant = 0; variant < 5; variant++) {
    sb_lowprec_options options = sb_lowprec_options_default();
    options.stochastic = false;
    options.mxfp4_scale = (sb_scale_rule)(SB_SCALE_FLOOR + variant % 4);
    options.nvfp4_two_scales = options.fp8_128_f32_scales = variant % 2;
    options.nvfp4_hadamard = variant < 2;
    options.fp8_dy = (sb_lowprec_dy)(variant % 3);
    for (int p = 1; p < SB_PRECISION_COUNT; p++)
      for (int operand = 0; operand < SB_LOWPREC_OPERANDS; operand++)
        for (int gemm = 0; gemm < SB_GEMM_KINDS; gemm++) {
          const sb_lowprec_rule rule = sb_lowprec_rule_of(
              (sb_precision)p, (sb_lowprec_operand)operand, (sb_gemm_kind)gemm, &options);
          const size_t shape = (size_t)(p + operand + gemm + variant) % 6;
          hold(be, &rule, shapes[shape].rows, shapes[shape].cols, SB_F32, SB_F32, false);
          hold(be, &rule, shapes[5 - shape].rows, shapes[5 - shape].cols, SB_BF16,
               variant % 2 ? SB_BF16 : SB_F16, true);
        }
  }
}

static int setup(void **state) {
  *state = check_backend(SB_COMPUTE_F32);
  return 0;
}

static int teardown(void **state) {
  sb_backend *be = *state;
  be->op->destroy(be);
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(every_rule)};
  return cmocka_run_group_tests(tests, setup, teardown);
}
