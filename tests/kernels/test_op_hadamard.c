/* hadamard against a product with Sylvester's matrix in double. */
#include <math.h>

#include "base/memory.h"
#include "kernels/shared/transform.h"
#include "tests/kernels/check.h"

/* Element (i, j) of the transform of n channels in blocks of `block`. */
static double element(size_t i, size_t j, size_t n, size_t block) {
  if (i / block != j / block) return 0.0;
  size_t at = i / block * block;
  const size_t end = at + block < n ? at + block : n;
  for (;;) {
    size_t run = 128;
    while (run > end - at) run /= 2;
    if (i < at + run || j < at + run) {
      if (i < at || i >= at + run || j < at || j >= at + run) return 0.0;
      return (__builtin_popcountll((i - at) & (j - at)) % 2 ? -1.0 : 1.0) / sqrt((double)run);
    }
    at += run;
  }
}

static void naive(double *y, const double *x, size_t T, size_t n, size_t block, const float *before,
                  const float *after) {
  for (size_t t = 0; t < T; t++)
    for (size_t i = 0; i < n; i++) {
      double sum = 0.0;
      for (size_t j = 0; j < n; j++) sum += element(i, j, n, block) * before[j] * x[t * n + j];
      y[t * n + i] = sum * after[i];
    }
}

/* n fp16 numbers, and what they are. */
static uint16_t *halves(size_t n, uint64_t seed, float **values) {
  uint16_t *out = (uint16_t *)check_zeros(n);
  *values = check_random(n, 2.0f, seed);
  for (size_t i = 0; i < n; i++) {
    out[i] = sb_f32_to_f16((*values)[i]);
    (*values)[i] = sb_f16_to_f32(out[i]);
  }
  return out;
}

static const struct {
  size_t T, n, block;
} shapes[] = {{1, 128, 128}, {3, 576, 128}, {2, 200, 64}, {5, 7, 3},
              {1, 1, 1},     {2, 704, 704}, {4, 96, 32}};

static void against_a_matrix(void **unused) {
  (void)unused;
  sb_backend *b = check_backend(SB_COMPUTE_F32);
  const sb_dtype types[] = {SB_F32, SB_BF16, SB_F16};
  const double tolerances[] = {2e-6, 5e-3, 6e-4}; /* half a step of the type, and sums of 128 */
  for (size_t k = 0; k < sizeof shapes / sizeof *shapes; k++)
    for (size_t type = 0; type < 3; type++) {
      const size_t T = shapes[k].T, n = shapes[k].n, block = shapes[k].block, count = T * n;
      float *before, *after, *ones = check_zeros(n), *x = check_random(count, 1.0f, k),
                             *got = check_zeros(count);
      uint16_t *first = halves(n, 2 * k + 100, &before), *last = halves(n, 2 * k + 101, &after);
      double *want = check_double_zeros(count);
      void *typed = check_zeros(count), *out = check_zeros(count);
      for (size_t i = 0; i < n; i++) ones[i] = 1.0f;
      sb_from_f32(typed, types[type], x, count);
      sb_to_f32(x, typed, types[type], count);
      naive(want, check_double(x, count), T, n, block, before, after);
      assert_ok(b->op->hadamard(b, NULL, out, typed, types[type], T, n, block, first, last));
      sb_to_f32(got, out, types[type], count);
      check_close("hadamard", got, want, count, tolerances[type], 4.0);
      naive(want, check_double(x, count), T, n, block, ones, ones);
      assert_ok(b->op->hadamard(b, NULL, typed, typed, types[type], T, n, block, NULL, NULL));
      sb_to_f32(got, typed, types[type], count);
      check_close("hadamard in place", got, want, count, tolerances[type], 4.0);
    }
  b->op->destroy(b);
  check_done();
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(against_a_matrix)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
