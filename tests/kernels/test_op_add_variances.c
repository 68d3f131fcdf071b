/* Variances of predictions against sums in double; against p (1 - p) of a softmax, target or not;
 * and what does not fit. */
#include "tests/kernels/check.h"

#include <math.h>
#include <stdlib.h>

static double value(const int64_t *sum) {
  return (double)sum[0] * 0x1p-32 + (double)sum[1] * 0x1p-80;
}

static int64_t *zeros(size_t count) {
  int64_t *sums = calloc(2 * count, sizeof *sums);
  assert_non_null(sums);
  return sums;
}

/* A term is rounded three times in f32, to 3 x 2^-24 of at most 1; sums of `tokens` terms up to 1/4
 * once more for each. */
static double slack(size_t tokens) {
  return (double)tokens * (0.75 + (double)tokens / 4) * 0x1p-22;
}

static void equals_plain_loops(void **state) {
  static const size_t shapes[][2] = {{1, 1}, {3, 7}, {64, 255}, {65, 256}, {130, 300}, {2, 1000}};
  sb_backend *be = *state;
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
    const size_t tokens = shapes[i][0], cols = shapes[i][1];
    const float scale = (float)tokens;
    const float *g = check_random(tokens * cols, 1.0f / scale, i);
    int64_t *sums = zeros(cols);
    for (int call = 0; call < 2; call++)
      assert_ok(be->op->add_variances(be, NULL, sums, g, tokens, cols, scale, 3 * call));
    assert_ok(be->op->sync(be, NULL));
    for (size_t c = 0; c < cols; c++) {
      double want = 0;
      for (size_t t = 0; t < tokens; t++) {
        const double a = fabs((double)scale * (double)g[t * cols + c]);
        want += a * (1 - a);
      }
      assert_true(fabs(value(sums + 2 * c) - 9 * want) <= 9 * slack(tokens));
    }
    free(sums);
    check_done();
  }
}

/* Logits through the backend's own gradient, one token without a target. */
static void are_those_of_a_softmax(void **state) {
  enum { T = 9, V = 40 };
  sb_backend *be = *state;
  float *logits = check_random((size_t)T * V, 4.0f, 3);
  const double *kept = check_double(logits, (size_t)T * V);
  float lse[T];
  uint32_t targets[T];
  double want[V] = {0};
  for (size_t t = 0; t < T; t++) {
    double sum = 0;
    for (size_t v = 0; v < V; v++) sum += exp(kept[t * V + v]);
    lse[t] = (float)log(sum);
    targets[t] = t + 1 < T ? (uint32_t)(t * 7 % V) : SB_NO_TARGET;
    for (size_t v = 0; v < V && t + 1 < T; v++) {
      const double p = exp(kept[t * V + v]) / sum;
      want[v] += p * (1 - p);
    }
  }
  int64_t *sums = zeros(V);
  assert_ok(be->op->xent_back_chunk(be, NULL, logits, lse, targets, 1.0f / (T - 1), T, 0, V));
  assert_ok(be->op->add_variances(be, NULL, sums, logits, T, V, T - 1, 0));
  assert_ok(be->op->sync(be, NULL));
  for (size_t v = 0; v < V; v++) {
    assert_true(fabs(value(sums + 2 * v) - want[v]) <= 1e-5 * want[v] + 1e-6);
    assert_true(want[v] > 1e-4);
  }
  free(sums);
  check_done();
}

static void refuses(void **state) {
  sb_backend *be = *state;
  static const float bad[] = {NAN, INFINITY, -INFINITY, 1e18f};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    float *g = check_random(40, 1.0f, 1);
    int64_t *sums = zeros(20);
    g[33] = bad[i];
    sb_status status = be->op->add_variances(be, NULL, sums, g, 2, 20, 1.0f, 0);
    if (status == SB_OK) status = be->op->sync(be, NULL);
    assert_int_equal(status, SB_ERR_NUMERIC);
    free(sums);
    check_done();
  }
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
  const struct CMUnitTest tests[] = {cmocka_unit_test(equals_plain_loops),
                                     cmocka_unit_test(are_those_of_a_softmax),
                                     cmocka_unit_test(refuses)};
  return cmocka_run_group_tests(tests, setup, teardown);
}
