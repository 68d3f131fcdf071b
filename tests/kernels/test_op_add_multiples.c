/* Sums of whole multiples against arithmetic in long double: ties, limits, either direction,
 * lengths that leave a rest in every vector and piece; and numbers that do not fit. */
#include <math.h>

#include "tests/kernels/check.h"
#include "tests/support/random.h"

enum { MOST = 9001 };

/* Rounds to nearest, ties to even. */
static int64_t multiple(float x, double quantum) {
  return (int64_t)rintl((long double)x / (long double)quantum);
}

/* Halves and their neighbours, numbers up to the limit, and small ones. */
static float number(uint64_t i, double quantum) {
  const uint64_t bits = mix(i);
  const double whole = (double)(int64_t)(bits >> 40) - 8388608, limit = 0x1.fffffep49;
  switch (bits % 4) {
  case 0:
    return (float)((double)(bits % 4099) - 2049.5) * (float)quantum;
  case 1:
    return (float)(whole * 0x1p25 * quantum);
  case 2:
    return (float)((bits & 4 ? limit : -limit) * quantum);
  default:
    return (float)(whole * 0x1p-22 * quantum);
  }
}

static void sums(void **state) {
  (void)state;
  static const size_t counts[] = {1, 7, 8, 33, 4095, 4096, 4097, MOST};
  static float x[MOST];
  static int64_t got[MOST], want[MOST];
  sb_backend *b = check_backend(SB_COMPUTE_F32);
  for (size_t c = 0; c < sizeof counts / sizeof *counts; c++)
    for (int exponent = -40; exponent <= 20; exponent += 20) {
      const double quantum = ldexp(1, exponent);
      const size_t n = counts[c];
      for (size_t k = 0; k < n; k++) got[k] = want[k] = (int64_t)mix(k) >> 8;
      for (int call = 0; call < 4; call++) {
        for (size_t k = 0; k < n; k++) x[k] = number(n * 5 + k + 1000003 * (size_t)call, quantum);
        for (size_t k = 0; k < n; k++) want[k] += multiple(x[call % 2 ? n - 1 - k : k], quantum);
        assert_ok(b->op->add_multiples(b, NULL, got, x, n, quantum, call % 2));
      }
      assert_ok(b->op->sync(b, NULL));
      assert_memory_equal(got, want, n * sizeof *got);
    }
  b->op->destroy(b);
}

static void refused(void **state) {
  (void)state;
  static const float bad[] = {NAN, INFINITY, -INFINITY, 0x1p50f, -0x1p50f};
  static float x[200];
  static int64_t out[200];
  sb_backend *b = check_backend(SB_COMPUTE_F32);
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    for (size_t at = 0; at < 200; at += 13) {
      memset(x, 0, sizeof x);
      x[at] = bad[i];
      sb_status status = b->op->add_multiples(b, NULL, out, x, 200, 1, at % 2);
      if (status == SB_OK) status = b->op->sync(b, NULL);
      assert_int_equal(status, SB_ERR_NUMERIC);
    }
  b->op->destroy(b);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(sums), cmocka_unit_test(refused)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
