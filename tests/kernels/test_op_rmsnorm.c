#include "tests/kernels/check.h"

#include <omp.h>

#include "tests/kernels/naive.h"

static const size_t shapes[][2] = {{1, 1}, {3, 7}, {5, 16}, {65, 33}, {130, 576}, {2, 4099}};
enum { SHAPES = sizeof shapes / sizeof *shapes };

typedef struct data {
  size_t T, h;
  float *x, *w, *y, *rstd, *dy, *dx, *dw, *dx0, *dw0;
  double *x2, *w2, *y2, *rstd2, *dy2;
} data;

static const float eps = 1e-5f;

static data make(size_t T, size_t h) {
  data s = {.T = T, .h = h};
  s.x = check_random(T * h, 2.0f, 1);
  s.w = check_random(h, 1.0f, 2);
  s.dy = check_random(T * h, 1.0f, 3);
  s.dx = check_random(T * h, 1.0f, 4), s.dx0 = check_random(T * h, 1.0f, 4);
  s.dw = check_random(h, 1.0f, 5), s.dw0 = check_random(h, 1.0f, 5);
  s.y = check_zeros(T * h), s.rstd = check_zeros(T);
  s.x2 = check_double(s.x, T * h), s.w2 = check_double(s.w, h), s.dy2 = check_double(s.dy, T * h);
  s.y2 = check_double_zeros(T * h), s.rstd2 = check_double_zeros(T);
  return s;
}

static void run(sb_backend *be, data *s, bool with_dw) {
  assert_ok(be->op->rmsnorm(be, NULL, s->y, s->rstd, s->x, s->w, s->T, s->h, eps));
  assert_ok(be->op->rmsnorm_back(be, NULL, s->dx, with_dw ? s->dw : NULL, s->dy, s->x, s->w,
                                 s->rstd, s->T, s->h));
}

/* Sums of up to 4099 squares in 16 lanes: 256 roundings of 6e-8 at worst, 1e-6 in practice.
 * dw sums T terms. */
static void equals_naive(void **state) {
  sb_backend *be = *state;
  for (size_t i = 0; i < SHAPES; i++) {
    data s = make(shapes[i][0], shapes[i][1]);
    size_t n = s.T * s.h;
    double *dx = check_double_zeros(n), *dw = check_double_zeros(s.h);
    run(be, &s, true);
    naive_rmsnorm(s.y2, s.rstd2, s.x2, s.w2, s.T, s.h, (double)eps);
    naive_rmsnorm_back(dx, dw, s.dy2, s.x2, s.w2, s.T, s.h, (double)eps);
    for (size_t j = 0; j < n; j++) dx[j] += (double)s.dx0[j]; /* dx and dw are added to */
    for (size_t j = 0; j < s.h; j++) dw[j] += (double)s.dw0[j];
    check_close("y", s.y, s.y2, n, 2e-6, 1.0);
    check_close("rstd", s.rstd, s.rstd2, s.T, 2e-6, 0.0);
    check_close("dx", s.dx, dx, n, 1e-5, 1.0);
    check_close("dw", s.dw, dw, s.h, 1e-5, 1.0);
    data plain = make(shapes[i][0], shapes[i][1]);
    run(be, &plain, false);
    check_close("dx without dw", plain.dx, dx, n, 1e-5, 1.0);
    check_done();
  }
}

static double loss(void *context) {
  data *s = context;
  double sum = 0.0;
  naive_rmsnorm(s->y2, s->rstd2, s->x2, s->w2, s->T, s->h, (double)eps);
  for (size_t i = 0; i < s->T * s->h; i++) sum += s->dy2[i] * s->y2[i];
  return sum;
}

static void equals_finite_differences(void **state) {
  sb_backend *be = *state;
  data s = make(3, 19);
  run(be, &s, true);
  for (size_t i = 0; i < s.T * s.h; i++) {
    double slope = check_slope(loss, &s, s.x2, i) + (double)s.dx0[i];
    check_close("dx against a difference", s.dx + i, &slope, 1, 1e-5, 1.0);
  }
  for (size_t i = 0; i < s.h; i++) {
    double slope = check_slope(loss, &s, s.w2, i) + (double)s.dw0[i];
    check_close("dw against a difference", s.dw + i, &slope, 1, 1e-5, 1.0);
  }
  check_done();
}

static void threads_do_not_change_bits(void **state) {
  sb_backend *be = *state;
  data s[4];
  int threads = omp_get_max_threads();
  for (int t = 1; t <= 3; t++) {
    s[t] = make(513, 100);
    omp_set_num_threads(t);
    run(be, &s[t], true);
    check_same("y", s[t].y, s[1].y, 513 * 100);
    check_same("rstd", s[t].rstd, s[1].rstd, 513);
    check_same("dx", s[t].dx, s[1].dx, 513 * 100);
    check_same("dw", s[t].dw, s[1].dw, 100);
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
  const struct CMUnitTest tests[] = {cmocka_unit_test(equals_naive),
                                     cmocka_unit_test(equals_finite_differences),
                                     cmocka_unit_test(threads_do_not_change_bits)};
  return cmocka_run_group_tests(tests, setup, teardown);
}
