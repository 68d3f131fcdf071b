#include "tests/kernels/check.h"

#include <math.h>
#include <omp.h>
#include <string.h>

#include "tests/kernels/naive.h"

static const size_t sizes[] = {1, 15, 16, 17, 4096, 4100, 50001};
enum { SIZES = sizeof sizes / sizeof *sizes };

/* exp within 2 ulp, a division and three products: below 10 roundings of 6e-8. */
static const double tolerance = 1e-6;

static void forward_equals_naive(void **state) {
  sb_backend *be = *state;
  for (size_t s = 0; s < SIZES; s++) {
    size_t n = sizes[s];
    float *gate = check_random(n, 20.0f, 1), *up = check_random(n, 2.0f, 2), *y = check_zeros(n);
    double *want = check_double_zeros(n);
    naive_swiglu(want, check_double(gate, n), check_double(up, n), n);
    assert_ok(be->op->swiglu(be, NULL, y, gate, up, n));
    check_close("swiglu", y, want, n, tolerance, 1e-6);
    assert_ok(be->op->swiglu(be, NULL, gate, gate, up, n));
    check_same("swiglu in place", gate, y, n);
    check_done();
  }
}

static void backward_equals_naive(void **state) {
  sb_backend *be = *state;
  for (size_t s = 0; s < SIZES; s++) {
    size_t n = sizes[s];
    float *gate = check_random(n, 10.0f, 1), *up = check_random(n, 2.0f, 2),
          *dy = check_random(n, 1.0f, 3);
    float *dgate = check_zeros(n), *dup = check_zeros(n), *y = check_zeros(n),
          *alone = check_zeros(n);
    double *want_gate = check_double_zeros(n), *want_up = check_double_zeros(n);
    naive_swiglu_back(want_gate, want_up, check_double(dy, n), check_double(gate, n),
                      check_double(up, n), n);
    assert_ok(be->op->swiglu(be, NULL, alone, gate, up, n));
    assert_ok(be->op->swiglu_back(be, NULL, dgate, dup, y, dy, gate, up, n));
    /* 1 + g (1 - s) cancels where silu' changes sign: absolute there */
    check_close("dgate", dgate, want_gate, n, tolerance, 1.0);
    check_close("dup", dup, want_up, n, tolerance, 1e-6);
    check_same("y of the backward pass", y, alone, n);
    assert_ok(be->op->swiglu_back(be, NULL, gate, up, NULL, dy, gate, up, n)); /* in place */
    check_same("dgate in place of gate", gate, dgate, n);
    check_same("dup in place of up", up, dup, n);
    check_done();
  }
}

static double silu_times(void *context) {
  const double *gate_up = context;
  double y;
  naive_swiglu(&y, gate_up, gate_up + 1, 1);
  return y;
}

static void backward_equals_finite_differences(void **state) {
  sb_backend *be = *state;
  for (float g = -8.0f; g <= 8.0f; g += 0.5f) {
    float up = 1.5f, dy = 1.0f, dgate, dup;
    double at[2] = {(double)g, 1.5}, slope[2];
    slope[0] = check_slope(silu_times, at, at, 0);
    slope[1] = check_slope(silu_times, at, at, 1);
    assert_ok(be->op->swiglu_back(be, NULL, &dgate, &dup, NULL, &dy, &g, &up, 1));
    check_close("dgate against a difference", &dgate, &slope[0], 1, 1e-6, 1.0);
    check_close("dup against a difference", &dup, &slope[1], 1, 1e-6, 1.0);
  }
}

static void far_gates_saturate(void **state) {
  sb_backend *be = *state;
  float gate[4] = {-200.0f, 200.0f, -90.0f, 0.0f}, up[4] = {1.0f, 1.0f, 1.0f, 1.0f}, y[4];
  assert_ok(be->op->swiglu(be, NULL, y, gate, up, 4));
  assert_true(y[0] == 0.0f && y[1] == 200.0f && fabsf(y[2]) < 1e-35f && y[3] == 0.0f);
}

static void add_adds(void **state) {
  sb_backend *be = *state;
  enum { N = 40007 };
  float *x = check_random(N, 1.0f, 1), *y = check_random(N, 1.0f, 2), *sum = check_zeros(N);
  for (size_t i = 0; i < N; i++) sum[i] = y[i] + x[i];
  assert_ok(be->op->add(be, NULL, y, x, N));
  check_same("add", y, sum, N);
  check_done();
}

static void threads_do_not_change_bits(void **state) {
  sb_backend *be = *state;
  enum { N = 100003 };
  float *gate = check_random(N, 5.0f, 1), *up = check_random(N, 1.0f, 2),
        *dy = check_random(N, 1.0f, 3);
  float *y[4], *dgate[4], *dup[4];
  int threads = omp_get_max_threads();
  for (int t = 1; t <= 3; t++) {
    y[t] = check_zeros(N), dgate[t] = check_zeros(N), dup[t] = check_zeros(N);
    omp_set_num_threads(t);
    assert_ok(be->op->swiglu_back(be, NULL, dgate[t], dup[t], y[t], dy, gate, up, N));
    check_same("dgate", dgate[t], dgate[1], N);
    check_same("dup", dup[t], dup[1], N);
    check_same("y", y[t], y[1], N);
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
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(forward_equals_naive),
      cmocka_unit_test(backward_equals_naive),
      cmocka_unit_test(backward_equals_finite_differences),
      cmocka_unit_test(far_gates_saturate),
      cmocka_unit_test(add_adds),
      cmocka_unit_test(threads_do_not_change_bits),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
