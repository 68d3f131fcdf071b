/* Names and rules of low precisions, and what host and device share of them, exhaustively. */
#include "kernels/lowprec.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/shared/lowprec_code.h"
#include "tests/support/assertions.h"

static void names(void **state) {
  sb_precision precision;
  (void)state;
  for (int p = 0; p < SB_PRECISION_COUNT; p++) {
    assert_true(sb_precision_parse(sb_precision_names[p], &precision));
    assert_int_equal(precision, p);
  }
  assert_null(sb_precision_names[SB_PRECISION_COUNT]);
  assert_null(sb_gemm_kind_names[SB_GEMM_KINDS]);
  assert_true(sb_precision_parse("f32", &precision) && precision == SB_PRECISION_HIGH);
  assert_true(sb_precision_parse("high", &precision) && precision == SB_PRECISION_HIGH);
  assert_false(sb_precision_parse("fp4", &precision));
  assert_int_equal(sb_precision_bits(SB_PRECISION_HIGH), 16);
  assert_int_equal(sb_precision_bits(SB_PRECISION_MXFP8), 8);
  assert_int_equal(sb_precision_bits(SB_PRECISION_MXFP4), 4);
}

/* "rows x cols" of the block, and letters: e E4M3, f E5M2, s stochastic, h Hadamard. */
static void expect(sb_precision precision, sb_lowprec_operand operand, sb_gemm_kind gemm,
                   const char *want) {
  const sb_lowprec_options options = sb_lowprec_options_default();
  const sb_lowprec_rule rule = sb_lowprec_rule_of(precision, operand, gemm, &options);
  char got[64];
  snprintf(got, sizeof got, "%ux%u%s%s%s", rule.tile_rows, rule.tile_cols,
           rule.element == SB_ELEMENT_E4M3   ? "e"
           : rule.element == SB_ELEMENT_E5M2 ? "f"
                                             : "",
           rule.stochastic ? "s" : "", rule.hadamard ? "h" : "");
  if (strcmp(got, want) != 0)
    fail_msg("%s, operand %d of %s: %s, not %s", sb_precision_names[precision], (int)operand,
             sb_gemm_kind_names[gemm], got, want);
}

/* The table of docs/snip.md, for X and W of fprop, W and dY of dgrad, X and dY of wgrad. */
static void rules(void **state) {
  static const char *const table[SB_PRECISION_COUNT][6] = {
      [SB_PRECISION_HIGH] = {"0x0", "0x0", "0x0", "0x0", "0x0", "0x0"},
      [SB_PRECISION_FP8_TENSOR] = {"0x0e", "0x0e", "0x0e", "0x0f", "0x0e", "0x0f"},
      [SB_PRECISION_FP8_128] = {"1x128e", "128x128e", "128x128e", "1x128e", "128x1e", "128x1e"},
      [SB_PRECISION_MXFP8] = {"1x32e", "1x32e", "32x1e", "1x32e", "32x1e", "32x1e"},
      [SB_PRECISION_MXFP4] = {"1x32", "1x32", "32x1", "1x32s", "32x1", "32x1s"},
      [SB_PRECISION_NVFP4] = {"1x16", "16x16", "16x16", "1x16s", "16x1h", "16x1sh"},
      [SB_PRECISION_FP4_128] = {"1x128", "128x128", "128x128", "1x128s", "128x1", "128x1s"},
  };
  (void)state;
  for (int p = 0; p < SB_PRECISION_COUNT; p++) {
    expect((sb_precision)p, SB_LOWPREC_X, SB_FPROP, table[p][0]);
    expect((sb_precision)p, SB_LOWPREC_W, SB_FPROP, table[p][1]);
    expect((sb_precision)p, SB_LOWPREC_W, SB_DGRAD, table[p][2]);
    expect((sb_precision)p, SB_LOWPREC_DY, SB_DGRAD, table[p][3]);
    expect((sb_precision)p, SB_LOWPREC_X, SB_WGRAD, table[p][4]);
    expect((sb_precision)p, SB_LOWPREC_DY, SB_WGRAD, table[p][5]);
  }
}

/* A bf16 GEMM is exact where the table says so: all products of an element and a scale have at most
 * eight significant bits. */
static void fits_bf16(void **state) {
  sb_lowprec_options options = sb_lowprec_options_default();
  (void)state;
  for (int p = 0; p < SB_PRECISION_COUNT; p++) {
    const sb_lowprec_rule rule =
        sb_lowprec_rule_of((sb_precision)p, SB_LOWPREC_X, SB_FPROP, &options);
    assert_int_equal(sb_lowprec_fits_bf16(&rule),
                     p != SB_PRECISION_HIGH && p != SB_PRECISION_FP4_128);
  }
  options.fp8_128_f32_scales = true;
  const sb_lowprec_rule rule =
      sb_lowprec_rule_of(SB_PRECISION_FP8_128, SB_LOWPREC_X, SB_FPROP, &options);
  assert_false(sb_lowprec_fits_bf16(&rule));
}

/* Over all random bits that count, a number is rounded up as often as it is far from the lower
 * neighbour: the mean is off by less than 2^-19 of a step. */
static void stochastic_mean(void **state) {
  (void)state;
  for (int e = SB_ELEMENT_E4M3; e < SB_ELEMENT_COUNT; e++) {
    const sb_element element = (sb_element)e;
    const uint32_t cut = 23 - sb_element_mantissa(element), count = 1u << cut;
    const float least = sb_lowprec_float(sb_element_normal(element)), top = sb_element_top(element);
    const float step = ldexpf(least, -(int)sb_element_mantissa(element));
    const float numbers[] = {0.3f * step,  0.5f * step, 1.7f * step, least * 0.999f, least * 1.01f,
                             least * 1.9f, top * 0.97f, top * 0.51f, step * 1e-3f};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
      const float v = numbers[i];
      double sum = 0.0;
      for (uint32_t bits = 0; bits < count; bits++)
        sum += sb_element_stochastic(element, v, bits << (32 - cut));
      const float width = fmaxf(step, ldexpf(step, ilogbf(v) - ilogbf(least)));
      const double error = (sum / count - (double)v) / (double)width;
      if (fabs(error) > 0x1p-19)
        fail_msg("element %d: the mean of %g is off by %g", e, (double)v, error);
    }
    assert_true(sb_element_stochastic(element, 2.0f * top, 0xffffffffu) == top);
    assert_true(sb_element_stochastic(element, top, 0xffffffffu) == top);
    assert_true(sb_element_stochastic(element, -top, 0) == -top);
    assert_true(signbit(sb_element_stochastic(element, -0.0f, 0xffffffffu)));
  }
}

/* The exponent of E8M0 scales for every mantissa of amax, against powers of two by ldexp. */
static void exponents(void **state) {
  (void)state;
  for (uint32_t m = 0; m < 1u << 23; m++) {
    const uint32_t bits = (127u + m % 5) << 23 | m;
    const double amax = sb_lowprec_float(bits);
    const int up8 = sb_lowprec_exponent(SB_ELEMENT_E4M3, SB_SCALE_UP, bits);
    const int up4 = sb_lowprec_exponent(SB_ELEMENT_E2M1, SB_SCALE_UP, bits);
    const int floor4 = sb_lowprec_exponent(SB_ELEMENT_E2M1, SB_SCALE_FLOOR, bits);
    assert_true(amax <= ldexp(448.0, up8) && amax > ldexp(448.0, up8 - 1));
    assert_true(amax <= ldexp(6.0, up4) && amax > ldexp(6.0, up4 - 1));
    assert_true(ldexp(4.0, floor4) <= amax && amax < ldexp(8.0, floor4));
  }
  assert_int_equal(sb_lowprec_exponent(SB_ELEMENT_E2M1, SB_SCALE_FLOOR, 0), -127);
  assert_int_equal(sb_lowprec_exponent(SB_ELEMENT_E4M3, SB_SCALE_UP, 1), -127);
  assert_true(sb_lowprec_power(-127) == 0x1p-127f && sb_lowprec_power(127) == 0x1p127f);
}

/* Bits of neighbours in column, row and key agree in half of all cases, at every place of a word:
 * within five standard deviations. */
static void random_bits(void **state) {
  enum { ROWS = 256, COLS = 256, COUNT = ROWS * COLS };
  static const char *const pairs[] = {"itself", "the next column", "the next row", "the next key",
                                      "the row after, one column on"};
  const double allowed = 5.0 * 0.5 * sqrt((double)COUNT);
  (void)state;
  for (int kind = 0; kind < 5; kind++) {
    size_t ones[32] = {0};
    for (uint64_t r = 0; r < ROWS; r++) {
      const sb_lowprec_row row = sb_lowprec_row_of(99, r);
      const sb_lowprec_row other =
          sb_lowprec_row_of(kind == 3 ? 100 : 99, kind == 2 || kind == 4 ? r + 1 : r);
      for (uint32_t c = 0; c < COLS; c++) {
        uint32_t bits = sb_lowprec_random(row, c);
        if (kind > 0) bits ^= sb_lowprec_random(other, kind == 1 || kind == 4 ? c + 1 : c);
        for (int i = 0; i < 32; i++) ones[i] += bits >> i & 1;
      }
    }
    for (int i = 0; i < 32; i++)
      if (fabs((double)ones[i] - COUNT / 2) > allowed)
        fail_msg("bit %d against %s: %zu of %d", i, pairs[kind], ones[i], (int)COUNT);
  }
}

/* Rows count in steps of one odd number from starts of their own, so that some runs overlap; there
 * they still have different bits. */
static int by_start(const void *a, const void *b) {
  const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return (x > y) - (x < y);
}
static void no_row_is_anothers_copy(void **state) {
  enum { ROWS = 8192, COLS = 4096 };
  static uint64_t starts[ROWS]; /* the start in steps, and the row */
  uint32_t inverse = 1;         /* of the step, by Newton's iteration */
  size_t overlaps = 0;
  (void)state;
  for (int i = 0; i < 5; i++) inverse *= 2 - 0x9e3779b9u * inverse;
  for (uint64_t r = 0; r < ROWS; r++)
    starts[r] = (uint64_t)(sb_lowprec_row_of(5, r).low * inverse) << 32 | r;
  qsort(starts, ROWS, sizeof *starts, by_start);
  for (size_t i = 1; i < ROWS; i++) {
    const uint32_t apart = (uint32_t)((starts[i] >> 32) - (starts[i - 1] >> 32));
    const sb_lowprec_row a = sb_lowprec_row_of(5, (uint32_t)starts[i - 1]);
    const sb_lowprec_row b = sb_lowprec_row_of(5, (uint32_t)starts[i]);
    size_t same = 0;
    if (apart > COLS - 64) continue;
    overlaps++;
    assert_int_equal((uint32_t)(a.low + apart * 0x9e3779b9u), b.low);
    for (uint32_t c = 0; c < 64; c++)
      same += sb_lowprec_random(a, apart + c) >> 24 == sb_lowprec_random(b, c) >> 24;
    assert_true(same < 8);
  }
  assert_true(overlaps > 10);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(names),
                                     cmocka_unit_test(rules),
                                     cmocka_unit_test(fits_bf16),
                                     cmocka_unit_test(stochastic_mean),
                                     cmocka_unit_test(exponents),
                                     cmocka_unit_test(random_bits),
                                     cmocka_unit_test(no_row_is_anothers_copy)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
