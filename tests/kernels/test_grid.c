/* The grids against what they promise, in double precision and with the
 * compiler's own fp16 type. */
#include "tests/kernels/blocks.h"

static bool is_bf16(sb_code_kind kind) {
  return kind == SB_GRID_ASYMMETRIC_BF16 || kind == SB_GRID_SYMMETRIC_BF16 ||
         kind == SB_GRID_SIGNED_BF16 || kind == SB_GRID_BY_WIDTH_BF16;
}
static bool is_asymmetric(sb_code_kind kind) {
  return kind == SB_GRID_ASYMMETRIC || kind == SB_GRID_ASYMMETRIC_BF16 ||
         kind == SB_GRID_ASYMMETRIC_6BIT;
}
static bool is_symmetric(sb_code_kind kind, double top) {
  return kind == SB_GRID_SYMMETRIC || kind == SB_GRID_SYMMETRIC_BF16 ||
         kind == SB_GRID_SYMMETRIC_6BIT ||
         ((kind == SB_GRID_BY_WIDTH || kind == SB_GRID_BY_WIDTH_BF16) && top <= 3);
}

/* Significant bits of its scales. */
static int significant(sb_code_kind kind) {
  return is_bf16(kind)                                                       ? 8
         : kind == SB_GRID_ASYMMETRIC_6BIT || kind == SB_GRID_SYMMETRIC_6BIT ? 5
                                                                             : 11;
}

/* fp16 of a step, said another way: the smallest fp16 number not below it where fp16 is subnormal,
 * else the nearest; of those with fewer significant bits, where the kind wants them. */
static double step_of(double value, sb_code_kind kind) {
  _Float16 half;
  if (significant(kind) < 11 && value > 0) {
    const int bits = significant(kind);
    const double ulp = fmax(ldexp(1, ilogb(value) - bits + 1), 0x1p-24);
    return value < 0x1p-14 ? ceil(value / ulp) * ulp
                           : fmin(rint(value / ulp) * ulp, 65536 - ldexp(1, 16 - bits));
  }
  if (value < 0x1p-14) return ceil(value * 0x1p24) * 0x1p-24;
  if (value > 65504.0) return 65504.0;
  half = (_Float16)(float)value;
  return (double)half;
}

static double nearest_level(const sb_grid *g, double w) {
  double best = INFINITY;
  for (double code = 0; code <= (double)g->top; code++)
    best = fmin(best, fabs((code - (double)g->center) * (double)g->scale + (double)g->base - w));
  return best;
}

/* The largest magnitude that the levels leave to a step: of low <= 0 and high >= 0. */
static double steps_of_range(double low, double high, double top, sb_code_kind kind) {
  const double half = (top + 1) / 2;
  if (is_asymmetric(kind)) return (high - low) / top;
  if (is_symmetric(kind, top)) return 2 * fmax(high, -low) / top;
  return high > -low ? fmax(high / half, -low / (half - 1)) : fmax(-low / half, high / (half - 1));
}

/* The step of a signed grid of 1 bit, which has a level at 0 and one at the far side. */
static void check_signed_bit(const sb_grid *g, double low, double high) {
  const double far = fmax(high, -low);
  assert_true(g->center == 1.0f && g->base == 0.0f);
  assert_true(fabs(fabs((double)g->scale) - fmin(far, 65504)) <= 0x1p-8 * far + 0x1p-24);
  assert_true(g->scale == 0.0f || (g->scale < 0.0f) == (high > -low));
}

/* Scale and base are numbers of fp16, and of bf16 where the kind wants that; scales of 5 bits. */
static void check_type(const sb_grid *g, sb_code_kind kind) {
  uint32_t numbers[2];
  assert_true((float)(_Float16)g->scale == g->scale && (float)(_Float16)g->base == g->base);
  memcpy(numbers, (const float[2]){g->scale, g->base}, sizeof numbers);
  if (is_bf16(kind)) assert_int_equal((numbers[0] | numbers[1]) & 0xffffu, 0);
  if (significant(kind) == 5) assert_int_equal(numbers[0] & 0x7ffffu, 0);
}

static void check_group(const float *w, size_t n, unsigned bits, sb_code_kind code_kind) {
  const sb_grid g = scalar_grid(w, n, bits, code_kind);
  double low = 0, high = 0, sum = 0, spread = 0, magnitude = 0, expected;
  const double top = ldexp(1, (int)bits) - 1;
  for (size_t i = 0; i < n; i++) {
    low = fmin(low, (double)w[i]);
    high = fmax(high, (double)w[i]);
    sum += (double)w[i];
    magnitude += fabs((double)w[i]);
  }
  for (size_t i = 0; i < n; i++) spread += fabs((double)w[i] - (double)g.base);
  assert_true(g.top == (float)top);
  const double last = ldexp(1, 1 - significant(code_kind)), /* of a number: one bit */
      limit = 65536 - ldexp(1, 16 - significant(code_kind)), size = fabs((double)g.scale);
  if (bits == 1 && !is_asymmetric(code_kind) && !is_symmetric(code_kind, top)) {
    check_signed_bit(&g, low, high);
  } else if (bits == 1) {
    /* sums in float: a few hundred terms, then one rounding */
    expected = 2 * (is_symmetric(code_kind, top) ? magnitude : spread) / (double)n;
    assert_true(fabs((double)g.scale - fmin(expected, limit)) <= last * expected + 0x1p-24);
    if (is_asymmetric(code_kind))
      assert_true(fabs((double)g.base - fmax(fmin(sum / (double)n, limit), -limit)) <=
                  last * magnitude / (double)n + 0x1p-24);
  } else {
    /* the float quotient may lie on the other side of a tie */
    expected = steps_of_range(low, high, top, code_kind);
    assert_true(fabs(size - step_of(expected, code_kind)) <= last * step_of(expected, code_kind));
    assert_true(size >= expected * (1 - 1e-6) || expected > 0x1p-14 * (1 - 1e-6));
    assert_true((g.scale == 0) == (low == 0 && high == 0));
    if (!is_asymmetric(code_kind) && !is_symmetric(code_kind, top)) {
      assert_true(g.center == (float)((top + 1) / 2) && g.base == 0.0f);
      assert_true((g.scale < 0) == (high > -low));
    }
  }
  check_type(&g, code_kind);
  assert_true(g.inverse == (g.scale != 0 ? 1.0f / g.scale : 0.0f));
  if (is_asymmetric(code_kind) && bits > 1) {
    assert_true(g.center == floorf(g.center) && g.center >= 0 && g.center <= g.top);
    if (g.scale > 0 && (double)g.scale < limit)
      assert_true(fabs((double)g.center - fmin(-low / (double)g.scale, top)) <= 0.5001);
    assert_true(sb_grid_value(&g, sb_grid_code(&g, 0.0f)) == 0.0f);
  }
  for (size_t i = 0; i < n; i++) {
    const float code = sb_grid_code(&g, w[i]);
    const double value = (double)sb_grid_value(&g, code);
    assert_true(code == floorf(code) && code >= 0 && code <= g.top);
    assert_true(value == (double)(float)(((double)code - (double)g.center) * (double)g.scale +
                                         (double)g.base));
    /* the nearest level, but for float's rounding of w / scale (at most 255, 2^-24 of
     * it) at a tie */
    assert_true(fabs(value - (double)w[i]) <=
                nearest_level(&g, (double)w[i]) * (1 + 0x1p-20) + 1e-4 * size);
    /* inside the range: half a step, and what the rounding of the step leaves at the ends */
    if (bits > 1 && size < limit)
      assert_true(fabs(value - (double)w[i]) <= size * (0.5 + top * last / 2 + 1e-3));
  }
}

static void test_promises(void **state) {
  enum { ROWS = 200, COLS = 300 };
  float *w;
  (void)state;
  assert_ok(sb_alloc(&w, ROWS * COLS, sizeof *w, "weights"));
  fill_awkward(w, ROWS, COLS, 1);
  for (size_t r = 0; r < ROWS; r++) {
    const size_t n = 1 + mix(r) % COLS;
    for (unsigned bits = 1; bits <= 8; bits++)
      for (int kind = 0; kind < (r % 8 ? 2 : (int)SB_TRELLIS_12); kind++)
        check_group(w + r * COLS, n, bits, (sb_code_kind)kind);
  }
  sb_free(&w);
}

static void check_values(const float *w, size_t n, unsigned bits, sb_code_kind code_kind,
                         const float *expected) {
  const sb_grid g = scalar_grid(w, n, bits, code_kind);
  for (size_t i = 0; i < n; i++)
    assert_true(sb_grid_value(&g, sb_grid_code(&g, w[i])) == expected[i]);
}

/* Worked out by hand. 4/3 as fp16 is 1365/1024. */
static void test_small_cases(void **state) {
  const float a[3] = {-1, 0, 3}, two[3] = {-1365 / 1024.0f, 0, 2730 / 1024.0f};
  const float b[4] = {1, 3, 2, 2},
              one[4] = {1.5f, 2.5f, 1.5f, 1.5f}; /* mean 2, mean distance 1/2; ties go down */
  const float c[3] = {-3, 1, 0.9f}, mid[3] = {-3, 1, 1};
  const float d[2] = {-1, 3}, sign[2] = {-2, 2};
  const float e[3] = {5, 5, 5}, same[3] = {5, 5, 5};
  const float signed_c[3] = {-3, 1.5f, 1.5f}; /* two steps of 3/2 below 0, one above */
  const float f[4] = {-1, 0, 1, 2};           /* turned: a scale of -1 */
  const float h[3] = {-513, 1, 256}, signed_h[3] = {-512, 0, 256}; /* 513 / 4 has 10 bits */
  (void)state;
  check_values(a, 3, 2, SB_GRID_ASYMMETRIC, two);
  check_values(b, 4, 1, SB_GRID_ASYMMETRIC, one);
  check_values(c, 3, 2, SB_GRID_SYMMETRIC, mid);
  check_values(d, 2, 1, SB_GRID_SYMMETRIC, sign);
  check_values(e, 3, 1, SB_GRID_ASYMMETRIC, same);
  check_values(c, 3, 2, SB_GRID_SIGNED, signed_c);
  check_values(f, 4, 2, SB_GRID_SIGNED, f);
  check_values(h, 3, 3, SB_GRID_SIGNED_BF16, signed_h);
  check_values(
      e, 3, 4, SB_GRID_ASYMMETRIC,
      (const float[3]){4.998779296875f, 4.998779296875f, 4.998779296875f}); /* 15 fp16(1/3) */
}

static void test_extremes(void **state) {
  const float zero[3] = {0, -0.0f, 0}, huge[3] = {-3e38f, 3e38f, 1e38f},
              tiny[3] = {1e-7f, 3e-8f, 0};
  (void)state;
  for (int code_kind = 0; code_kind < SB_TRELLIS_12; code_kind++)
    for (unsigned bits = 1; bits <= 8; bits++) {
      sb_grid g = scalar_grid(zero, 3, bits, (sb_code_kind)code_kind);
      for (int i = 0; i < 3; i++) assert_true(sb_grid_value(&g, sb_grid_code(&g, zero[i])) == 0.0f);
      g = scalar_grid(huge, 3, bits, (sb_code_kind)code_kind);
      for (int i = 0; i < 3; i++)
        assert_true(isfinite(sb_grid_value(&g, sb_grid_code(&g, huge[i]))));
      g = scalar_grid(tiny, 3, bits, (sb_code_kind)code_kind);
      assert_true(bits == 1 || fabsf(g.scale) >= 0x1p-24f);
      assert_true(sb_grid_code(&g, NAN) == 0.0f);
    }
}

/* The least and the greatest of zeros may have either sign; no stored number has. */
static void test_zeros(void **state) {
  const float zeros[2] = {0.0f, -0.0f}, highs[3] = {0.0f, -0.0f, 3.0f};
  (void)state;
  for (int code_kind = 0; code_kind < SB_TRELLIS_12; code_kind++)
    for (unsigned bits = 1; bits <= 8; bits++)
      for (int h = 0; h < 3; h++)
        for (int z = 0; z < 2; z++)
          for (unsigned fit = 0; fit < SB_FITS; fit += 5) {
            /* h < 2: the means of zeros, and of numbers that fp16 rounds to zero */
            const float mean = h < 2 ? (h ? -1e-9f : zeros[z]) : 1.5f;
            const sb_group_range range = {.low = zeros[z],
                                          .high = highs[h],
                                          .mean = sb_grid_base(mean, (sb_code_kind)code_kind),
                                          .spread = fabsf(mean),
                                          .mean_magnitude = fabsf(mean)};
            sb_group_range plus = range;
            plus.low = 0.0f;
            plus.high = fabsf(range.high);
            const sb_grid g = sb_grid_fitted(&range, bits, (sb_code_kind)code_kind, fit),
                          expected = sb_grid_fitted(&plus, bits, (sb_code_kind)code_kind, fit);
            const sb_stored_grid stored = sb_grid_store(&g), same = sb_grid_store(&expected);
            assert_memory_equal(&stored, &same, sizeof same);
            assert_int_not_equal(stored.scale, 0x8000);
            assert_int_not_equal(stored.center, 0x8000);
            assert_int_not_equal(stored.base, 0x8000);
          }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_promises),
      cmocka_unit_test(test_small_cases),
      cmocka_unit_test(test_extremes),
      cmocka_unit_test(test_zeros),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
