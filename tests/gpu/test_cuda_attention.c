/* Attention on the device against the naive reference: tensor cores in bf16 arithmetic, plain
 * kernels in f32. */
#include <math.h>

#include "tests/gpu/device.h"
#include "tests/kernels/naive.h"

#define PUT(x, count)     gpu_put((x), (count) * sizeof(float))
#define GET(x, at, count) gpu_get((x), (at), (count) * sizeof(float))

typedef struct problem {
  size_t T, heads, kv_heads, d;
  float scale; /* of q and k */
} problem;

/* Below, at and beyond a tile; odd heads; groups that are cut into parts and groups that are not;
 * heads too wide for tiles. */
static const problem problems[] = {
    {1, 1, 1, 64, 1.0f},   {33, 2, 1, 6, 1.0f},    {64, 3, 1, 16, 1.0f},  {129, 2, 2, 33, 1.0f},
    {150, 4, 2, 64, 1.0f}, {193, 1, 1, 128, 0.5f}, {130, 4, 1, 80, 1.0f}, {40, 2, 1, 160, 1.0f},
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

/* Sums are f32; what is rounded to bf16 (2^-9) are probabilities and gradients of scores, each
 * once, and each with its own error: a sum of products with them keeps 2^-8 of its largest terms.
 * dQ and dK also see what cancels in dS = P (dP - D), where D comes from an output that was rounded
 * to float only. F32 arithmetic rounds sums alone. */
static void equals_naive(void **state) {
  const double unit = gpu->operand == SB_BF16 ? 0x1p-8 : 1e-5;
  (void)state;
  for (size_t i = 0; i < sizeof problems / sizeof *problems; i++) {
    const problem p = problems[i];
    const size_t nq = p.T * p.heads * p.d, nkv = p.T * p.kv_heads * p.d, nl = p.heads * p.T;
    float *q = rounded(check_random(nq, p.scale, 1), nq),
          *k = rounded(check_random(nkv, p.scale, 2), nkv);
    float *v = rounded(check_random(nkv, 1.0f, 3), nkv),
          *d_o = rounded(check_random(nq, 1.0f, 4), nq);
    float *o = check_random(nq, 1.0f, 5), *lse = check_zeros(nl);
    float *dq = check_random(nq, 1.0f, 6), *dk = check_random(nkv, 1.0f, 7),
          *dv = check_random(nkv, 1.0f, 8);
    double *q2 = check_double(q, nq), *k2 = check_double(k, nkv), *v2 = check_double(v, nkv);
    double *o2 = check_double_zeros(nq), *lse2 = check_double_zeros(nl),
           *d_o2 = check_double(d_o, nq);
    double *dq2 = check_double_zeros(nq), *dk2 = check_double_zeros(nkv),
           *dv2 = check_double_zeros(nkv);
    void *q3 = PUT(q, nq), *k3 = PUT(k, nkv), *v3 = PUT(v, nkv), *d_o3 = PUT(d_o, nq),
         *o3 = PUT(o, nq);
    float *lse3 = PUT(lse, nl);
    void *dq3 = PUT(dq, nq), *dk3 = PUT(dk, nkv), *dv3 = PUT(dv, nkv);
    assert_ok(gpu->op->attention(gpu, NULL,
                                 &(sb_attention_args){.q = q3,
                                                      .k = k3,
                                                      .v = v3,
                                                      .o = o3,
                                                      .lse = lse3,
                                                      .T = p.T,
                                                      .heads = p.heads,
                                                      .kv_heads = p.kv_heads,
                                                      .d = p.d}));
    assert_ok(gpu->op->attention_back(gpu, NULL,
                                      &(sb_attention_args){.q = q3,
                                                           .k = k3,
                                                           .v = v3,
                                                           .o = o3,
                                                           .lse = lse3,
                                                           .T = p.T,
                                                           .heads = p.heads,
                                                           .kv_heads = p.kv_heads,
                                                           .d = p.d},
                                      d_o3, dq3, dk3, dv3));
    GET(o, o3, nq);
    GET(lse, lse3, nl);
    GET(dq, dq3, nq);
    GET(dk, dk3, nkv);
    GET(dv, dv3, nkv);
    naive_attention(o2, lse2, q2, k2, v2, p.T, p.heads, p.kv_heads, p.d);
    naive_attention_back(dq2, dk2, dv2, d_o2, q2, k2, v2, p.T, p.heads, p.kv_heads, p.d);
    check_close("o", o, o2, nq, unit, largest(o2, nq));
    check_close("lse", lse, lse2, nl, 1e-5, 1.0);
    check_close("dq", dq, dq2, nq, 2 * unit, largest(dq2, nq) + 1e-3);
    check_close("dk", dk, dk2, nkv, 2 * unit, largest(dk2, nkv) + 1e-3);
    check_close("dv", dv, dv2, nkv, unit, largest(dv2, nkv));
    gpu_drop();
    check_done();
  }
}

/* Scores of +-80 and more: exp must not overflow, and the soft-max is one-hot. */
static void sharp_scores(void **state) {
  const size_t T = 150, d = 64, n = T * d;
  float *q = rounded(check_random(n, 30.0f, 1), n), *k = rounded(check_random(n, 30.0f, 2), n);
  float *v = rounded(check_random(n, 1.0f, 3), n), *o = check_zeros(n), *lse = check_zeros(T);
  double *o2 = check_double_zeros(n), *lse2 = check_double_zeros(T);
  (void)state;
  void *o3 = PUT(o, n);
  float *lse3 = PUT(lse, T);
  assert_ok(gpu->op->attention(gpu, NULL,
                               &(sb_attention_args){.q = PUT(q, n),
                                                    .k = PUT(k, n),
                                                    .v = PUT(v, n),
                                                    .o = o3,
                                                    .lse = lse3,
                                                    .T = T,
                                                    .heads = 1,
                                                    .kv_heads = 1,
                                                    .d = d}));
  GET(o, o3, n);
  GET(lse, lse3, T);
  naive_attention(o2, lse2, check_double(q, n), check_double(k, n), check_double(v, n), T, 1, 1, d);
  check_close("o", o, o2, n, 0x1p-7, 1.0);
  check_close("lse", lse, lse2, T, 1e-5, 1.0);
  gpu_drop();
  check_done();
}

/* The same call gives the same bits, whatever ran before it. */
static void again_is_the_same(void **state) {
  const size_t T = 140, heads = 2, kv = 1, d = 64, n = T * heads * d, m = T * kv * d;
  float *first = check_zeros(n + 2 * m), *second = check_zeros(n + 2 * m);
  (void)state;
  float *q = PUT(check_random(n, 1.0f, 1), n), *k = PUT(check_random(m, 1.0f, 2), m),
        *v = PUT(check_random(m, 1.0f, 3), m);
  float *o = PUT(check_zeros(n), n), *lse = PUT(check_zeros(heads * T), heads * T),
        *d_o = PUT(check_random(n, 1.0f, 4), n);
  float *out = PUT(first, n + 2 * m);
  for (int call = 0; call < 2; call++) {
    if (call == 1) /* another shape in between */
      assert_ok(gpu->op->attention_back(gpu, NULL,
                                        &(sb_attention_args){.q = q,
                                                             .k = k,
                                                             .v = v,
                                                             .o = o,
                                                             .lse = lse,
                                                             .T = T / 2,
                                                             .heads = heads,
                                                             .kv_heads = heads,
                                                             .d = d / 2},
                                        d_o, out, out + n, out + n + m));
    const sb_attention_args args = {
        .q = q, .k = k, .v = v, .o = o, .lse = lse, .T = T, .heads = heads, .kv_heads = kv, .d = d};
    assert_ok(gpu->op->attention(gpu, NULL, &args));
    assert_ok(gpu->op->attention_back(gpu, NULL, &args, d_o, out, out + n, out + n + m));
    GET(call == 0 ? first : second, out, n + 2 * m);
  }
  check_same("gradients", second, first, n + 2 * m);
  gpu_drop();
  check_done();
}

static void odd_heads_are_refused(void **state) {
  float x = 0.0f;
  (void)state;
  const sb_attention_args good = {
      .q = &x, .k = &x, .v = &x, .o = &x, .lse = &x, .T = 1, .heads = 1, .kv_heads = 1, .d = 64};
  sb_attention_args odd = good, wide = good, none = good;
  odd.heads = 3, odd.kv_heads = 2, odd.d = 4;
  wide.d = 5000;
  none.T = 0;
  assert_int_equal(gpu->op->attention(gpu, NULL, &odd), SB_ERR_INTERNAL);
  assert_int_equal(gpu->op->attention(gpu, NULL, &wide), SB_ERR_UNSUPPORTED);
  assert_ok(gpu->op->attention(gpu, NULL, &none));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(equals_naive),
      cmocka_unit_test(sharp_scores),
      cmocka_unit_test(again_is_the_same),
      cmocka_unit_test(odd_heads_are_refused),
  };
  return GPU_RUN(tests, GPU_F32 | GPU_BF16);
}
