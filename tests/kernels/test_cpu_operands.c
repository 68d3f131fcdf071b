/* Operands that are bf16: what operations give is what they give in float, rounded; what they take
 * counts as its floats. That is apart from products in bf16, which not every processor has: the
 * type alone is changed here. */
#include <string.h>

#include "base/dtype.h"
#include "kernels/blockrow.h"
#include "tests/kernels/check.h"

static sb_backend *be;

static void as_bf16(void) {
  be->operand = SB_BF16;
}
static void as_f32(void) {
  be->operand = SB_F32;
}

static uint16_t *rounded(const float *x, size_t count) {
  uint16_t *out = (uint16_t *)check_zeros(count / 2 + 1);
  for (size_t i = 0; i < count; i++) out[i] = sb_f32_to_bf16(x[i]);
  return out;
}
static float *widened(const uint16_t *x, size_t count) {
  float *out = check_zeros(count);
  for (size_t i = 0; i < count; i++) out[i] = sb_bf16_to_f32(x[i]);
  return out;
}

static const size_t counts[] = {1, 31, 4096, 4097, 20011};
enum { COUNTS = sizeof counts / sizeof *counts };

static void norms_are_rounded(void **state) {
  (void)state;
  for (size_t i = 0; i < COUNTS; i++) {
    const size_t h = counts[i], n = 3 * h;
    const float *x = check_random(n, 2.0f, i), *w = check_random(h, 1.0f, i + 9);
    float *y = check_zeros(n), *rstd = check_zeros(3), *rstd2 = check_zeros(3);
    uint16_t *y2 = rounded(y, n);
    assert_ok(be->op->rmsnorm(be, NULL, y, rstd, x, w, 3, h, 1e-5f));
    as_bf16();
    assert_ok(be->op->rmsnorm(be, NULL, y2, rstd2, x, w, 3, h, 1e-5f));
    as_f32();
    assert_memory_equal(y2, rounded(y, n), n * sizeof *y2);
    check_same("rstd", rstd2, rstd, 3);
    check_done();
  }
}

static void gated_are_rounded(void **state) {
  (void)state;
  for (size_t i = 0; i < COUNTS; i++) {
    const size_t n = counts[i];
    const float *gate = check_random(n, 8.0f, i), *up = check_random(n, 1.0f, i + 9),
                *dy = check_random(n, 1.0f, i + 18);
    float *y = check_zeros(n), *again = check_zeros(n), *dgate = check_zeros(n),
          *dup = check_zeros(n);
    uint16_t *y2 = rounded(y, n), *again2 = rounded(y, n), *dgate2 = rounded(y, n),
             *dup2 = rounded(y, n);
    assert_ok(be->op->swiglu(be, NULL, y, gate, up, n));
    assert_ok(be->op->swiglu_back(be, NULL, dgate, dup, again, dy, gate, up, n));
    as_bf16();
    assert_ok(be->op->swiglu(be, NULL, y2, gate, up, n));
    assert_ok(be->op->swiglu_back(be, NULL, dgate2, dup2, again2, dy, gate, up, n));
    assert_memory_equal(y2, rounded(y, n), n * sizeof *y2);
    assert_memory_equal(again2, rounded(again, n), n * sizeof *y2);
    assert_memory_equal(dgate2, rounded(dgate, n), n * sizeof *y2);
    assert_memory_equal(dup2, rounded(dup, n), n * sizeof *y2);
    assert_ok(be->op->swiglu_back(be, NULL, dgate2, dup2, NULL, dy, gate, up, n));
    as_f32();
    assert_memory_equal(dgate2, rounded(dgate, n), n * sizeof *y2);
    check_done();
  }
}

static void moments_of_rounded(void **state) {
  (void)state;
  enum { TOKENS = 37, COLS = 130, BLOCK = 64 };
  const size_t grams = sb_grams_count(COLS, BLOCK);
  const uint16_t *x = rounded(check_random(TOKENS * COLS, 3.0f, 1), TOKENS * COLS);
  const float *same = widened(x, TOKENS * COLS);
  int64_t *a = (int64_t *)check_double_zeros(2 * grams),
          *b = (int64_t *)check_double_zeros(2 * grams);
  int64_t *c = (int64_t *)check_double_zeros(2 * COLS),
          *d = (int64_t *)check_double_zeros(2 * COLS);
  assert_ok(be->op->add_grams(be, NULL, a, same, TOKENS, COLS, BLOCK, -3));
  assert_ok(be->op->add_squares(be, NULL, c, same, TOKENS, COLS, -3));
  as_bf16();
  assert_ok(be->op->add_grams(be, NULL, b, x, TOKENS, COLS, BLOCK, -3));
  assert_ok(be->op->add_squares(be, NULL, d, x, TOKENS, COLS, -3));
  as_f32();
  assert_memory_equal(a, b, 16 * grams);
  assert_memory_equal(c, d, 16 * COLS);
  assert_true(c[0] != 0);
  check_done();
}

static void packed_with_rounded(void **state) {
  (void)state;
  enum { T = 5, ROWS = 70, COLS = 200, BLOCK = 64, BLOCKS = 8 };
  const sb_tiling tiling = {ROWS, COLS, BLOCK, BLOCK};
  const uint8_t bits[BLOCKS] = {3, 1, 8, 2, 5, 4, 7, 6};
  const float *w = check_random(ROWS * COLS, 1.0f, 2);
  const uint16_t *x = rounded(check_random(T * COLS, 1.0f, 1), T * COLS);
  const size_t first = sb_blockrow_bytes(&tiling, 0, bits, SB_GRID_ASYMMETRIC),
               second = sb_blockrow_bytes(&tiling, 1, bits + 4, SB_GRID_ASYMMETRIC),
               offsets[2] = {0, first};
  uint8_t *packed = (uint8_t *)check_zeros(first + second);
  float *y = check_zeros(T * ROWS), *y2 = check_zeros(T * ROWS);
  sb_packed matrix;
  sb_blockrow_encode(packed, w, SB_F32, &tiling, 0, bits, SB_GRID_ASYMMETRIC, NULL);
  sb_blockrow_encode(packed + first, w + BLOCK * COLS, SB_F32, &tiling, 1, bits + 4,
                     SB_GRID_ASYMMETRIC, NULL);
  assert_ok(be->op->packed_create(be, NULL, packed, offsets, &tiling, bits, SB_GRID_ASYMMETRIC,
                                  NULL, &matrix));
  assert_ok(be->op->packed_gemm(be, NULL, y, widened(x, T * COLS), T, matrix, false));
  as_bf16();
  assert_ok(be->op->packed_gemm(be, NULL, y2, x, T, matrix, false));
  as_f32();
  check_same("packed product", y2, y, T * ROWS);
  be->op->packed_destroy(be, matrix);
  check_done();
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(norms_are_rounded), cmocka_unit_test(gated_are_rounded),
      cmocka_unit_test(moments_of_rounded), cmocka_unit_test(packed_with_rounded)};
  be = check_backend(SB_COMPUTE_F32);
  const int failed = cmocka_run_group_tests(tests, NULL, NULL);
  be->op->destroy(be);
  return failed;
}
