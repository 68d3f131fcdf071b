/* Sums of multiples, and factors of second moments on the device, against the CPU's. */
#include <math.h>
#include <string.h>

#include "kernels/factor.h"
#include "tests/gpu/device.h"

static const size_t counts[] = {1, 7, 300, 100003};

static int64_t *whole_numbers(size_t count) {
  return (int64_t *)check_double_zeros(count); /* 0.0 is 0 */
}

/* Every addition is of one rounded number: the same bits, forwards and backwards. */
static void sums_are_exact(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
    const size_t n = counts[i];
    const float *x = check_random(n, 1e3f, i);
    int64_t *want = whole_numbers(n), *got = whole_numbers(n);
    int64_t *sums_dev = gpu_put(got, n * sizeof *got);
    const float *x_dev = gpu_put(x, n * sizeof *x);
    for (int call = 0; call < 4; call++) {
      const double quantum = call / 2 ? 0x1p-20 : 0x1p3;
      assert_ok(cpu->op->add_multiples(cpu, NULL, want, x, n, quantum, call % 2));
      assert_ok(gpu->op->add_multiples(gpu, NULL, sums_dev, x_dev, n, quantum, call % 2));
    }
    for (size_t k = 0; k < n; k++) { /* and what they are of */
      const double a = (double)x[k], b = (double)x[n - 1 - k];
      assert_int_equal(want[k],
                       (int64_t)(rint(a / 8) + rint(b / 8) + rint(a * 0x1p20) + rint(b * 0x1p20)));
    }
    gpu_get(got, sums_dev, n * sizeof *got);
    gpu_drop();
    assert_memory_equal(got, want, n * sizeof *got);
    check_done();
  }
}

static void what_does_not_fit_is_reported(void **state) {
  (void)state;
  const float bad[3] = {NAN, INFINITY, 0x1p50f};
  for (int i = 0; i < 3; i++) {
    float *x = check_random(20, 1.0f, 1);
    int64_t *sums = whole_numbers(20);
    x[7] = bad[i];
    assert_int_equal(cpu->op->add_multiples(cpu, NULL, sums, x, 20, 1.0, false), SB_ERR_NUMERIC);
    sums = gpu_put(sums, 20 * sizeof *sums);
    assert_ok(gpu->op->add_multiples(gpu, NULL, sums, gpu_put(x, 20 * sizeof *x), 20, 1.0, false));
    assert_int_equal(gpu->op->sync(gpu, NULL), SB_ERR_NUMERIC);
    assert_ok(gpu->op->sync(gpu, NULL));
    gpu_drop();
    check_done();
  }
}

#define QUANTUM 0x1p-30

/* Moments of `tokens` inputs that go together, in multiples of the quantum; channel
 * n / 3 is dead. */
static int64_t *moments(size_t n, size_t tokens) {
  int64_t *sums = whole_numbers(n * n);
  const float *x = check_random(tokens * n, 1.0f, n);
  for (size_t t = 0; t < tokens; t++)
    for (size_t i = 0; i < n; i++)
      for (size_t j = 0; j < n; j++) {
        const size_t a = t * n + i, b = t * n + j;
        const double left = i == n / 3 ? 0 : (double)x[a] + 0.7 * (double)x[t * n];
        const double right = j == n / 3 ? 0 : (double)x[b] + 0.7 * (double)x[t * n];
        sums[i * n + j] += (int64_t)rint(left * right / QUANTUM);
      }
  return sums;
}

/* Both, on the CPU and on the device; what they give is in host memory. */
static void factorise(sb_factor_job *want, sb_factor_job *got, const int64_t *sums, size_t n) {
  const size_t whole = n * n * sizeof(int64_t), half = n * n * sizeof(float);
  int64_t *mine = whole_numbers(n * n);
  memcpy(mine, sums, whole);
  *want = *got = (sb_factor_job){.n = n, .quantum = QUANTUM, .damping = 0.01};
  want->sums = mine;
  want->factor = check_random(n * n, 1.0f, 1);
  want->kept = check_random(n * n, 1.0f, 2);
  float *factor = check_random(n * n, 1.0f, 3), *kept = check_random(n * n, 1.0f, 4);
  got->sums = gpu_put(sums, whole);
  got->factor = gpu_put(factor, half);
  got->kept = gpu_put(kept, half);
  assert_ok(cpu->op->factor_moments(cpu, NULL, want, 1));
  assert_ok(gpu->op->factor_moments(gpu, NULL, got, 1));
  gpu_get(factor, got->factor, half);
  gpu_get(kept, got->kept, half);
  got->factor = factor;
  got->kept = kept;
  gpu_drop();
}

/* Double precision on both: a rounding to single apart, of which the diagonal is the largest in its
 * column's reach. The kept moments are the same bits. */
static void factors_are_those_of_lapack(void **state) {
  (void)state;
  static const size_t sizes[] = {1, 2, 17, 64, 129, 200};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    const size_t n = sizes[i];
    sb_factor_job want, got;
    factorise(&want, &got, moments(n, 2 * n + 3), n);
    assert_int_equal(want.status, SB_OK);
    assert_int_equal(got.status, SB_OK);
    assert_int_equal(got.repair.dead, 1);
    assert_true(got.repair.damping == want.repair.damping && got.repair.mean == want.repair.mean);
    assert_memory_equal(got.kept, want.kept, n * n * sizeof *got.kept);
    for (size_t r = 0; r < n; r++)
      for (size_t c = 0; c < n; c++) {
        const double apart = fabs((double)got.factor[r * n + c] - (double)want.factor[r * n + c]);
        if (c < r)
          assert_true(got.factor[r * n + c] == 0.0f);
        else
          assert_true(apart <= 2e-7 * (double)want.factor[r * n + r]);
      }
    check_done();
  }
}

/* Indefinite: more damping, as much as on the CPU. Not finite: said of the job,
 * not of the device. */
static void repairs(void **state) {
  (void)state;
  enum { N = 30 };
  sb_factor_job want, got;
  int64_t *sums = whole_numbers(N * N);
  for (size_t i = 0; i < N; i++) sums[i * N + i] = (int64_t)0x1p30;
  sums[1] = sums[N] = (int64_t)(1.5 * 0x1p30);
  factorise(&want, &got, sums, N);
  assert_int_equal(got.status, SB_OK);
  assert_true(got.repair.damping > 0.5 && got.repair.damping == want.repair.damping);
  sums[1] = sums[N] = INT64_MAX;
  factorise(&want, &got, sums, N);
  assert_int_equal(want.status, SB_ERR_NUMERIC);
  assert_int_equal(got.status, SB_ERR_NUMERIC);
  assert_string_equal(got.message, want.message);
  check_done();
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(sums_are_exact), cmocka_unit_test(what_does_not_fit_is_reported),
      cmocka_unit_test(factors_are_those_of_lapack), cmocka_unit_test(repairs)};
  return GPU_RUN(tests, GPU_F32);
}
