/* Exact sums of second moments on the device. */
#include <math.h>
#include <string.h>

#include "tests/gpu/device.h"

typedef struct problem {
  size_t tokens, cols, block_cols;
} problem;

static const problem problems[] = {{1, 1, 1},      {5, 7, 3},       {33, 128, 128},
                                   {70, 200, 128}, {40, 130, 1000}, {64, 65, 64}};

static int64_t *limbs(size_t count) {
  return (int64_t *)check_double_zeros(2 * count); /* 0.0 is 0 */
}

static double value(const int64_t *sum) {
  return (double)sum[0] * 0x1p-32 + (double)sum[1] * 0x1p-80;
}

/* Whole numbers below 2^8: products and sums are exact in f32, so both devices must give the same
 * limbs, call after call. */
static void whole_numbers_are_exact(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof problems / sizeof *problems; i++) {
    const problem p = problems[i];
    const size_t n = p.tokens * p.cols, count = sb_grams_count(p.cols, p.block_cols);
    float *x = check_random(n, 200.0f, i);
    int64_t *want = limbs(count), *got = limbs(count), *want2 = limbs(p.cols),
            *got2 = limbs(p.cols);
    for (size_t e = 0; e < n; e++) x[e] = rintf(x[e]);
    const void *x_dev = gpu_put_operands(x, n);
    int64_t *sums = gpu_put(got, count * 16), *squares = gpu_put(got2, p.cols * 16);
    for (int call = 0; call < 2; call++) {
      assert_ok(cpu->op->add_grams(cpu, NULL, want, x, p.tokens, p.cols, p.block_cols, -7 * call));
      assert_ok(
          gpu->op->add_grams(gpu, NULL, sums, x_dev, p.tokens, p.cols, p.block_cols, -7 * call));
      assert_ok(cpu->op->add_squares(cpu, NULL, want2, x, p.tokens, p.cols, -call));
      assert_ok(gpu->op->add_squares(gpu, NULL, squares, x_dev, p.tokens, p.cols, -call));
    }
    gpu_get(got, sums, count * 16);
    gpu_get(got2, squares, p.cols * 16);
    gpu_drop();
    assert_memory_equal(got, want, count * 16);
    assert_memory_equal(got2, want2, p.cols * 16);
    check_done();
  }
}

/* Other numbers: f32 sums of `tokens` products, of operands as they are. */
static void close_to_naive(void **state) {
  (void)state;
  const double dropped = gpu->operand == SB_BF16 ? 0.0 : 0x1p-22;
  for (size_t i = 0; i < sizeof problems / sizeof *problems; i++) {
    const problem p = problems[i];
    const size_t n = p.tokens * p.cols;
    float *x = check_random(n, 3.0f, i + 9);
    if (gpu->operand == SB_BF16)
      for (size_t e = 0; e < n; e++) x[e] = sb_bf16_to_f32(sb_f32_to_bf16(x[e]));
    const size_t count = sb_grams_count(p.cols, p.block_cols);
    int64_t *sums = limbs(count), *squares = limbs(p.cols);
    int64_t *sums_dev = gpu_put(sums, count * 16), *squares_dev = gpu_put(squares, p.cols * 16);
    const void *x_dev = gpu_put_operands(x, n);
    assert_ok(gpu->op->add_grams(gpu, NULL, sums_dev, x_dev, p.tokens, p.cols, p.block_cols, -3));
    assert_ok(gpu->op->add_squares(gpu, NULL, squares_dev, x_dev, p.tokens, p.cols, 2));
    gpu_get(sums, sums_dev, count * 16);
    gpu_get(squares, squares_dev, p.cols * 16);
    gpu_drop();
    for (size_t r = 0; r < p.cols; r++) {
      const size_t j = r / p.block_cols, first = j * p.block_cols, row = r - first;
      for (size_t c = 0; c <= row; c++) {
        double sum = 0.0, size = 0.0;
        for (size_t t = 0; t < p.tokens; t++) {
          sum += (double)x[t * p.cols + r] * (double)x[t * p.cols + first + c];
          size += fabs((double)x[t * p.cols + r] * (double)x[t * p.cols + first + c]);
        }
        const size_t at = sb_grams_start(p.block_cols, j) + row * (row + 1) / 2 + c;
        const double error = fabs(value(sums + 2 * at) * 8.0 - sum);
        assert_true(error <= size * (dropped + (double)p.tokens * 0x1p-24));
        if (c == row)
          assert_true(fabs(value(squares + 2 * r) / 4.0 - sum) <=
                      size * (double)p.tokens * 0x1p-24);
      }
    }
    check_done();
  }
}

/* What cannot be added is reported by the next sync, once. */
static void bad_numbers_are_reported(void **state) {
  (void)state;
  const float bad[3] = {NAN, INFINITY, 1e19f};
  for (int i = 0; i < 3; i++) {
    float *x = check_random(4 * 5, 1.0f, 1);
    x[7] = bad[i];
    int64_t *sums = gpu_put(limbs(15), 15 * 16), *squares = gpu_put(limbs(5), 5 * 16);
    const void *x_dev = gpu_put_operands(x, 4 * 5);
    assert_ok(gpu->op->add_grams(gpu, NULL, sums, x_dev, 4, 5, 5, 0));
    assert_int_equal(gpu->op->sync(gpu, NULL), SB_ERR_NUMERIC);
    assert_non_null(strstr(sb_message(), "inputs"));
    assert_ok(gpu->op->sync(gpu, NULL));
    assert_ok(gpu->op->add_squares(gpu, NULL, squares, x_dev, 4, 5, 0));
    assert_int_equal(gpu->op->sync(gpu, NULL), SB_ERR_NUMERIC);
    assert_non_null(strstr(sb_message(), "gradients"));
    gpu_drop();
    check_done();
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(whole_numbers_are_exact),
      cmocka_unit_test(close_to_naive),
      cmocka_unit_test(bad_numbers_are_reported),
  };
  return GPU_RUN(tests, GPU_F32 | GPU_BF16);
}
