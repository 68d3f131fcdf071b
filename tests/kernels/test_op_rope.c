#include "tests/kernels/check.h"

#include <math.h>
#include <omp.h>

#include "tests/kernels/naive.h"

static float *angles(size_t T, size_t head_dim) {
  size_t half = head_dim / 2;
  float *table = check_zeros(T * half * 2);
  for (size_t t = 0; t < T; t++)
    for (size_t i = 0; i < half; i++) {
      double angle = (double)t * pow(10000.0, -2.0 * (double)i / (double)head_dim);
      table[(t * half + i) * 2] = (float)cos(angle);
      table[(t * half + i) * 2 + 1] = (float)sin(angle);
    }
  return table;
}

/* Two products and a sum: three roundings of 6e-8. */
static void equals_naive_both_ways(void **state) {
  sb_backend *be = *state;
  const size_t shapes[][3] = {{1, 1, 2}, {5, 3, 6}, {33, 2, 64}, {70, 9, 34}};
  for (size_t s = 0; s < 4; s++)
    for (int inverse = 0; inverse < 2; inverse++) {
      size_t T = shapes[s][0], heads = shapes[s][1], d = shapes[s][2], n = T * heads * d;
      float *x = check_random(n, 1.0f, 1), *table = angles(T, d);
      double *want = check_double(x, n);
      naive_rope(want, check_double(table, T * d), T, heads, d, inverse);
      assert_ok(be->op->rope(be, NULL, x, table, T, heads, d, inverse));
      check_close("rope", x, want, n, 3e-7, 1.0);
      check_done();
    }
}

/* The inverse is the transpose, hence the backward pass: <R x, y> = <x, R' y>. */
static void inverse_is_the_transpose(void **state) {
  sb_backend *be = *state;
  enum { T = 9, HEADS = 2, D = 10, N = T * HEADS * D };
  float *x = check_random(N, 1.0f, 1), *y = check_random(N, 1.0f, 2), *table = angles(T, D);
  double *x0 = check_double(x, N), *y0 = check_double(y, N), forward = 0.0, back = 0.0;
  assert_ok(be->op->rope(be, NULL, x, table, T, HEADS, D, false));
  assert_ok(be->op->rope(be, NULL, y, table, T, HEADS, D, true));
  for (size_t i = 0; i < N; i++) {
    forward += (double)x[i] * y0[i];
    back += x0[i] * (double)y[i];
  }
  assert_true(fabs(forward - back) < 1e-5);
  check_done();
}

static void threads_do_not_change_bits(void **state) {
  sb_backend *be = *state;
  enum { T = 200, HEADS = 3, D = 32, N = T * HEADS * D };
  float *x[4], *table = angles(T, D);
  int threads = omp_get_max_threads();
  for (int t = 1; t <= 3; t++) {
    x[t] = check_random(N, 1.0f, 1);
    omp_set_num_threads(t);
    assert_ok(be->op->rope(be, NULL, x[t], table, T, HEADS, D, false));
    check_same("rope", x[t], x[1], N);
  }
  omp_set_num_threads(threads);
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
  const struct CMUnitTest tests[] = {cmocka_unit_test(equals_naive_both_ways),
                                     cmocka_unit_test(inverse_is_the_transpose),
                                     cmocka_unit_test(threads_do_not_change_bits)};
  return cmocka_run_group_tests(tests, setup, teardown);
}
