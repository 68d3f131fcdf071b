/* Attention in bf16 arithmetic, which test_cpu_attention does not reach: the tensor-core kernels against the naive reference. */
#include "kernels/cuda/cuda_device.h"
#include "tests/cuda_host/cuda_host.h"
#include "tests/kernels/check.h"
#include "tests/kernels/naive.h"

#include <math.h>
#include <string.h>

typedef struct problem {
  size_t T, heads, kv_heads, d;
  float scale; /* of q and k */
} problem;

/* Below, at and beyond a tile; odd heads; groups that are cut into parts and groups that are not; heads too wide for tiles. */
static const problem problems[] = {
    {1, 1, 1, 64, 1.0f},   {33, 2, 1, 6, 1.0f},    {64, 3, 1, 16, 1.0f},  {129, 2, 2, 33, 1.0f},
    {200, 4, 2, 64, 1.0f}, {257, 2, 1, 128, 0.5f}, {130, 6, 1, 80, 1.0f}, {40, 2, 1, 160, 1.0f},
};

/* To the nearest bf16 number, so that rounding inputs is no error of the kernels. */
static float *rounded(float *x, size_t count) {
  for (size_t i = 0; i < count; i++) x[i] = sb_bf16_to_f32(sb_f32_to_bf16(x[i]));
  return x;
}

static double largest(const double *x, size_t count) {
  double most = 0.0;
  for (size_t i = 0; i < count; i++) most = fmax(most, fabs(x[i]));
  return most;
}

/* Sums are f32; what is rounded to bf16 (2^-9) are probabilities and gradients of scores, each once, and each with its own
 * error: a sum of products with them keeps 2^-8 of its largest terms. dQ and dK also see what cancels in dS = P (dP - D),
 * where D comes from an output that was rounded to float only. */
static void equals_naive(void **state) {
  sb_backend *be = *state;
  for (size_t i = 0; i < sizeof problems / sizeof *problems; i++) {
    const problem p = problems[i];
    const size_t nq = p.T * p.heads * p.d, nkv = p.T * p.kv_heads * p.d, nl = p.heads * p.T;
    float *q = rounded(check_random(nq, p.scale, 1), nq), *k = rounded(check_random(nkv, p.scale, 2), nkv);
    float *v = rounded(check_random(nkv, 1.0f, 3), nkv), *d_o = rounded(check_random(nq, 1.0f, 4), nq);
    float *o = check_random(nq, 1.0f, 5), *lse = check_zeros(nl);
    float *dq = check_random(nq, 1.0f, 6), *dk = check_random(nkv, 1.0f, 7), *dv = check_random(nkv, 1.0f, 8);
    double *q2 = check_double(q, nq), *k2 = check_double(k, nkv), *v2 = check_double(v, nkv);
    double *o2 = check_double_zeros(nq), *lse2 = check_double_zeros(nl), *d_o2 = check_double(d_o, nq);
    double *dq2 = check_double_zeros(nq), *dk2 = check_double_zeros(nkv), *dv2 = check_double_zeros(nkv);
    assert_ok(be->op->attention(be, NULL, o, lse, q, k, v, p.T, p.heads, p.kv_heads, p.d));
    naive_attention(o2, lse2, q2, k2, v2, p.T, p.heads, p.kv_heads, p.d);
    check_close("o", o, o2, nq, 0x1p-8, largest(o2, nq));
    check_close("lse", lse, lse2, nl, 1e-5, 1.0);
    assert_ok(
        be->op->attention_back(be, NULL, dq, dk, dv, d_o, o, lse, q, k, v, p.T, p.heads, p.kv_heads, p.d));
    naive_attention_back(dq2, dk2, dv2, d_o2, q2, k2, v2, p.T, p.heads, p.kv_heads, p.d);
    check_close("dq", dq, dq2, nq, 0x1p-7, largest(dq2, nq) + 1e-3);
    check_close("dk", dk, dk2, nkv, 0x1p-7, largest(dk2, nkv) + 1e-3);
    check_close("dv", dv, dv2, nkv, 0x1p-8, largest(dv2, nkv));
    check_done();
  }
}

/* Scores of +-80 and more: exp must not overflow, and the soft-max is one-hot. */
static void sharp_scores(void **state) {
  sb_backend *be = *state;
  const size_t T = 150, d = 64, n = T * d;
  float *q = rounded(check_random(n, 30.0f, 1), n), *k = rounded(check_random(n, 30.0f, 2), n);
  float *v = rounded(check_random(n, 1.0f, 3), n), *o = check_zeros(n), *lse = check_zeros(T);
  double *o2 = check_double_zeros(n), *lse2 = check_double_zeros(T);
  assert_ok(be->op->attention(be, NULL, o, lse, q, k, v, T, 1, 1, d));
  naive_attention(o2, lse2, check_double(q, n), check_double(k, n), check_double(v, n), T, 1, 1, d);
  check_close("o", o, o2, n, 0x1p-7, 1.0);
  check_close("lse", lse, lse2, T, 1e-5, 1.0);
  check_done();
}

static int setup(void **state) {
  *state = check_backend(SB_COMPUTE_BF16);
  return 0;
}
static int teardown(void **state) {
  sb_backend *be = *state;
  be->op->destroy(be);
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(equals_naive),
      cmocka_unit_test(sharp_scores),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
