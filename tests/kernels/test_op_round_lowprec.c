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
} shapes[] = {{1, 1}, {3, 17}, {16, 16}, {33, 130}, {20, 600}, {130, 257}, {48, 40}};
enum { SHAPES = sizeof shapes / sizeof *shapes };

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

static bool reads(sb_gemm_kind gemm, sb_lowprec_operand operand) {
  static const sb_lowprec_operand absent[] = {
      [SB_FPROP] = SB_LOWPREC_DY, [SB_DGRAD] = SB_LOWPREC_X, [SB_WGRAD] = SB_LOWPREC_W};
  return operand != absent[gemm];
}

/* Every precision, operand and GEMM, with every choice of options that changes a rule. */
static void every_rule(void **state) {
  sb_backend *be = *state;
  size_t n = 0;
  for (int variant = 0; variant < 4; variant++) {
    sb_lowprec_options options = sb_lowprec_options_default();
    options.stochastic = false;
    options.mxfp4_scale = (sb_scale_rule)(SB_SCALE_FLOOR + variant);
    options.nvfp4_two_scales = options.fp8_128_f32_scales = variant % 2;
    options.nvfp4_hadamard = variant < 2;
    options.fp8_dy = (sb_lowprec_dy)(variant % 3);
    for (int p = 1; p < SB_PRECISION_COUNT; p++)
      for (int operand = 0; operand < SB_LOWPREC_OPERANDS; operand++)
        for (int gemm = 0; gemm < SB_GEMM_KINDS; gemm++) {
          if (!reads((sb_gemm_kind)gemm, (sb_lowprec_operand)operand)) continue;
          const sb_lowprec_rule rule = sb_lowprec_rule_of(
              (sb_precision)p, (sb_lowprec_operand)operand, (sb_gemm_kind)gemm, &options);
          const size_t shape = n++ % SHAPES;
          hold(be, &rule, shapes[shape].rows, shapes[shape].cols, SB_F32, SB_F32, n % 3 == 0);
          hold(be, &rule, shapes[SHAPES - 1 - shape].rows, shapes[SHAPES - 1 - shape].cols,
               n % 2 ? SB_BF16 : SB_F16, n % 4 ? SB_BF16 : SB_F16, n % 3 != 0);
        }
  }
}

/* ---- stochastic rounding ---- */

static sb_lowprec_args args_of(sb_lowprec_rule rule, size_t rows, size_t cols, const float *src,
                               float *dst, uint64_t key) {
  const sb_lowprec_args args = {.rule = rule,
                                .rows = rows,
                                .cols = cols,
                                .src = src,
                                .src_dtype = SB_F32,
                                .dst = dst,
                                .dst_dtype = SB_F32,
                                .key = key};
  return args;
}

/* The largest element not above, and the least not below |v|. */
static void neighbours(sb_element e, double v, double *below, double *above) {
  int code = 0;
  while (code + 1 < codes_of(e) && value_of(e, code + 1) <= fabs(v)) code++;
  *below = value_of(e, code);
  *above = *below == fabs(v) || code + 1 == codes_of(e) ? *below : value_of(e, code + 1);
}

/* Every result is a neighbour of its number, and numbers that are elements stay. */
static void stochastic_is_a_neighbour(void **state) {
  sb_backend *be = *state;
  for (int e = SB_ELEMENT_E4M3; e < SB_ELEMENT_COUNT; e++) {
    const sb_lowprec_rule rule = {
        .element = (sb_element)e, .scale = SB_SCALE_F32, .stochastic = true};
    const size_t rows = 61, cols = 131, count = rows * cols;
    const float top = top_of((sb_element)e);
    float *x = check_random(count, 1.0f, 7), *y = check_zeros(count);
    size_t lower = 0, upper = 0;
    for (size_t i = 0; i < count; i++)
      x[i] = i % 3 == 0   ? (float)value_of((sb_element)e, (int)i % codes_of((sb_element)e))
             : i % 3 == 1 ? x[i] * top
                          : ldexpf(x[i], -(int)(i % 19));
    x[0] = top; /* the scale is 1 */
    const sb_lowprec_args args = args_of(rule, rows, cols, x, y, 3);
    assert_ok(be->op->round_lowprec(be, NULL, &args));
    assert_ok(be->op->sync(be, NULL));
    for (size_t i = 0; i < count; i++) {
      double below, above;
      neighbours((sb_element)e, x[i], &below, &above);
      assert_true(fabsf(y[i]) == (float)below || fabsf(y[i]) == (float)above);
      assert_int_equal(signbit(y[i]) != 0, signbit(x[i]) != 0);
      lower += below < above && fabsf(y[i]) == (float)below;
      upper += below < above && fabsf(y[i]) == (float)above;
    }
    assert_true(lower > count / 10 && upper > count / 10);
    check_done();
  }
}

/* The mean of many roundings of one number is the number: within five standard errors, which are
 * below 1/5000 of a step on a processor (2^22 numbers; a stand-in for a GPU takes fewer). */
static void stochastic_is_unbiased(void **state) {
  sb_backend *be = *state;
  static const float steps[] = {0.0625f, 0.4999f, 0.9f};
  const bool cpu = strcmp(be->name, "cpu") == 0;
  const sb_lowprec_rule rule = {
      .element = SB_ELEMENT_E2M1, .scale = SB_SCALE_F32, .stochastic = true};
  const size_t rows = cpu ? 4096 : 32, cols = cpu ? 1024 : 64, count = rows * cols;
  float *x = check_zeros(count), *y = check_zeros(count);
  double worst = 0.0;
  for (int from = 0; from < 7; from++)
    for (int i = 0; i < 3; i++) {
      const double low = value_of(SB_ELEMENT_E2M1, from);
      const double step = value_of(SB_ELEMENT_E2M1, from + 1) - low;
      const float v = (float)(low + step * steps[i]);
      double sum = 0.0;
      for (size_t k = 0; k < count; k++) x[k] = k % 2 ? v : -v;
      x[0] = 6.0f;
      const sb_lowprec_args args = args_of(rule, rows, cols, x, y, (uint64_t)(from * 3 + i));
      assert_ok(be->op->round_lowprec(be, NULL, &args));
      assert_ok(be->op->sync(be, NULL));
      for (size_t k = 1; k < count; k++) sum += fabsf(y[k]);
      const double error = (sum / (double)(count - 1) - v) / step;
      worst = fmax(worst, fabs(error));
      const double deviation = sqrt(steps[i] * (1.0 - steps[i]) / (double)count);
      if (fabs(error) > (cpu ? fmin(5.0 * deviation, 1e-3) : 5.0 * deviation))
        fail_msg("%g becomes %g of a step too much on average", (double)v, error);
    }
  print_message("stochastic rounding: the mean is off by at most %.1e of a step\n", worst);
  check_done();
}

/* The bits of an element depend on key, row and column alone: not on what else is in the matrix. */
static void stochastic_bits_by_place(void **state) {
  sb_backend *be = *state;
  const sb_lowprec_options options = sb_lowprec_options_default();
  const sb_lowprec_rule rule =
      sb_lowprec_rule_of(SB_PRECISION_MXFP4, SB_LOWPREC_DY, SB_DGRAD, &options);
  const size_t rows = 40, cols = 96;
  float *x = check_random(rows * cols, 1.0f, 5), *y = check_zeros(rows * cols);
  float *part = check_zeros(rows * cols);
  sb_lowprec_args args = args_of(rule, rows, cols, x, y, 11);
  size_t same = 0;
  assert_true(rule.stochastic);
  assert_ok(be->op->round_lowprec(be, NULL, &args));
  args = args_of(rule, 3, cols, x, part, 11);
  assert_ok(be->op->round_lowprec(be, NULL, &args));
  assert_ok(be->op->sync(be, NULL));
  assert_memory_equal(part, y, 3 * cols * sizeof *y);
  args = args_of(rule, rows, cols, x, part, 12);
  assert_ok(be->op->round_lowprec(be, NULL, &args));
  assert_ok(be->op->sync(be, NULL));
  for (size_t i = 0; i < rows * cols; i++) same += part[i] == y[i];
  assert_true(same > rows * cols / 4 && same < rows * cols * 9 / 10);
  check_done();
}

/* ---- the rest of the contract ---- */

/* In place, and twice: the second time changes nothing where scales are powers of two. */
static void in_place(void **state) {
  sb_backend *be = *state;
  sb_lowprec_options options = sb_lowprec_options_default();
  options.mxfp4_scale = SB_SCALE_UP;
  const size_t rows = 37, cols = 150;
  for (int p = 1; p < SB_PRECISION_COUNT; p++) {
    const sb_lowprec_rule rule =
        sb_lowprec_rule_of((sb_precision)p, SB_LOWPREC_X, SB_WGRAD, &options);
    float *x = check_random(rows * cols, 2.0f, 5), *y = check_zeros(rows * cols);
    sb_lowprec_args args = args_of(rule, rows, cols, x, y, 0);
    assert_ok(be->op->round_lowprec(be, NULL, &args));
    args.dst = x;
    assert_ok(be->op->round_lowprec(be, NULL, &args));
    assert_ok(be->op->sync(be, NULL));
    assert_memory_equal(x, y, rows * cols * sizeof *x);
    if (p == SB_PRECISION_MXFP8 || p == SB_PRECISION_MXFP4 || p == SB_PRECISION_FP8_128) {
      assert_ok(be->op->round_lowprec(be, NULL, &args));
      assert_ok(be->op->sync(be, NULL));
      assert_memory_equal(x, y, rows * cols * sizeof *x);
    }
    check_done();
  }
}

/* NaN and infinity make their block NaN, and no other, unless all share a scale. */
static void no_number_shows(void **state) {
  sb_backend *be = *state;
  const sb_lowprec_options options = sb_lowprec_options_default();
  const size_t rows = 20, cols = 300;
  for (int p = 1; p < SB_PRECISION_COUNT; p++)
    for (int kind = 0; kind < 3; kind++) {
      const sb_lowprec_rule rule =
          sb_lowprec_rule_of((sb_precision)p, SB_LOWPREC_X, SB_FPROP, &options);
      const bool whole = p == SB_PRECISION_FP8_TENSOR || p == SB_PRECISION_NVFP4;
      float *x = check_random(rows * cols, 2.0f, 5), *y = check_zeros(rows * cols);
      x[3 * cols + 140] = kind == 0 ? NAN : kind == 1 ? INFINITY : -INFINITY;
      const sb_lowprec_args args = args_of(rule, rows, cols, x, y, 0);
      assert_ok(be->op->round_lowprec(be, NULL, &args));
      assert_ok(be->op->sync(be, NULL));
      for (size_t i = 0; i < rows * cols; i++) {
        const size_t width = rule.tile_cols ? rule.tile_cols : cols;
        const bool in_block = i / cols == 3 && i % cols / width == 140 / width;
        assert_int_equal(isnan(y[i]) != 0, whole || in_block);
      }
      check_done();
    }
}

static void high_precision_converts(void **state) {
  sb_backend *be = *state;
  const sb_lowprec_options options = sb_lowprec_options_default();
  const size_t count = 77;
  float *x = check_random(count, 2.0f, 5), tensor = 0.0f;
  uint16_t *want = (uint16_t *)(void *)check_zeros(count),
           *got = (uint16_t *)(void *)check_zeros(count);
  sb_lowprec_args args = {
      .rule = sb_lowprec_rule_of(SB_PRECISION_HIGH, SB_LOWPREC_DY, SB_WGRAD, &options),
      .rows = 7,
      .cols = 11,
      .src = x,
      .src_dtype = SB_F32,
      .dst = got,
      .dst_dtype = SB_BF16,
      .tensor_scale = &tensor};
  sb_from_f32(want, SB_BF16, x, count);
  assert_ok(be->op->round_lowprec(be, NULL, &args));
  assert_ok(be->op->sync(be, NULL));
  assert_memory_equal(got, want, count * sizeof *want);
  assert_true(tensor == 1.0f);
  args.src_dtype = SB_I8;
  assert_int_equal(be->op->round_lowprec(be, NULL, &args), SB_ERR_UNSUPPORTED);
  assert_non_null(strstr(sb_message(), "I8"));
  args.src_dtype = SB_F32;
  args.rule = (sb_lowprec_rule){.element = SB_ELEMENT_E2M1, .tile_rows = 1, .tile_cols = 24};
  assert_int_equal(be->op->round_lowprec(be, NULL, &args), SB_ERR_INTERNAL);
  check_done();
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
  const struct CMUnitTest tests[] = {cmocka_unit_test(every_rule),
                                     cmocka_unit_test(stochastic_is_a_neighbour),
                                     cmocka_unit_test(stochastic_is_unbiased),
                                     cmocka_unit_test(stochastic_bits_by_place),
                                     cmocka_unit_test(in_place),
                                     cmocka_unit_test(no_number_shows),
                                     cmocka_unit_test(high_precision_converts)};
  return cmocka_run_group_tests(tests, setup, teardown);
}
