#include "tests/kernels/check.h"

#include <math.h>
#include <omp.h>

#include "tests/kernels/naive.h"

/* x rounded to bf16: what a bf16 GEMM sees of an f32 operand. */
static double *rounded(const float *x, size_t count) {
  double *out = check_double_zeros(count);
  for (size_t i = 0; i < count; i++) out[i] = (double)sb_bf16_to_f32(sb_f32_to_bf16(x[i]));
  return out;
}

static uint16_t *halves(const float *x, size_t count) {
  uint16_t *out = (uint16_t *)check_zeros((count + 1) / 2);
  for (size_t i = 0; i < count; i++) out[i] = sb_f32_to_bf16(x[i]);
  return out;
}

/* Products of bf16 numbers are exact in f32, so only the sum rounds: the tolerance of
 * the f32 GEMM holds. */
static void equals_naive_for_any_mix(void **state) {
  sb_backend *be = *state;
  const size_t shapes[][3] = {{1, 1, 1},      {3, 5, 7},      {17, 33, 65},
                              {130, 67, 200}, {300, 640, 77}, {512, 192, 96}};
  for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
    for (int kind = 0; kind < 16; kind++) {
      size_t m = shapes[s][0], n = shapes[s][1], k = shapes[s][2], pad = s % 2 ? 3 : 0;
      bool ta = kind & 1, tb = kind & 2, half_a = kind & 4, half_b = kind & 8;
      size_t lda = (ta ? m : k) + pad, ldb = (tb ? k : n) + pad, ldc = n + pad;
      size_t na = (ta ? k : m) * lda, nb = (tb ? n : k) * ldb;
      const bool add = kind % 3 != 0;
      float *a = check_random(na, 1.0f, 1), *b = check_random(nb, 1.0f, 2),
            *c = check_random(m * ldc, 1.0f, 3);
      double *want = check_double(c, m * ldc);
      naive_gemm(ta, tb, m, n, k, 1.0, rounded(a, na), lda, rounded(b, nb), ldb, add ? 1.0 : 0.0,
                 want, ldc);
      assert_ok(be->op->gemm(
          be, NULL,
          &(sb_gemm_args){
              .m = m,
              .n = n,
              .k = k,
              .a = {half_a ? (void *)halves(a, na) : a, half_a ? SB_BF16 : SB_F32, lda, ta},
              .b = {half_b ? (void *)halves(b, nb) : b, half_b ? SB_BF16 : SB_F32, ldb, tb},
              .c = c,
              .c_dtype = SB_F32,
              .ldc = ldc,
              .add = add}));
      check_close("bf16 gemm", c, want, m * ldc, 1e-6 * (double)k, 1.0);
      check_done();
    }
}

static void threads_do_not_change_bits(void **state) {
  sb_backend *be = *state;
  const size_t shapes[][3] = {{512, 576, 576}, {300, 1537, 111}, {192, 576, 512}, {5, 40, 4000}};
  int threads = omp_get_max_threads();
  for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
    for (int kind = 0; kind < 4; kind++) {
      size_t m = shapes[s][0], n = shapes[s][1], k = shapes[s][2];
      bool ta = kind & 1, tb = kind & 2;
      float *a = check_random(m * k, 1.0f, 4), *b = check_random(n * k, 1.0f, 5), *c[4];
      for (int t = 1; t <= 3; t++) {
        sb_backend *fresh = NULL; /* prepared under t threads, too */
        c[t] = check_zeros(m * n);
        omp_set_num_threads(t);
        assert_ok(sb_backend_cpu_create(SB_COMPUTE_BF16, 0, &fresh));
        assert_ok(fresh->op->gemm(fresh, NULL,
                                  &(sb_gemm_args){.m = m,
                                                  .n = n,
                                                  .k = k,
                                                  .a = {a, SB_F32, ta ? m : k, ta},
                                                  .b = {b, SB_F32, tb ? k : n, tb},
                                                  .c = c[t],
                                                  .c_dtype = SB_F32,
                                                  .ldc = n}));
        fresh->op->destroy(fresh);
        assert_int_equal(omp_get_max_threads(), t);
        check_same("bf16 gemm on more threads", c[t], c[1], m * n);
        assert_ok(be->op->gemm(be, NULL,
                               &(sb_gemm_args){.m = m,
                                               .n = n,
                                               .k = k,
                                               .a = {a, SB_F32, ta ? m : k, ta},
                                               .b = {b, SB_F32, tb ? k : n, tb},
                                               .c = c[t],
                                               .c_dtype = SB_F32,
                                               .ldc = n}));
        check_same("bf16 gemm prepared earlier", c[t], c[1], m * n);
      }
      check_done();
    }
  omp_set_num_threads(threads);
}

static void weights_are_bf16(void **state) {
  sb_backend *be = *state;
  assert_int_equal(be->operand, SB_BF16);
  assert_int_equal(be->act, SB_F32);
}

static int teardown(void **state) {
  sb_backend *be = *state;
  if (be) be->op->destroy(be);
  return 0;
}

int main(void) {
  sb_backend *be = NULL;
  sb_status status = sb_backend_cpu_create(SB_COMPUTE_BF16, 0, &be);
  if (status ==
      SB_ERR_UNSUPPORTED) { /* a build or a processor without it: the message must say what to do */
    print_message("skipped: %s\n", sb_message());
    return be == NULL && sb_message()[0] != '\0' ? 0 : 1;
  }
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_prestate(equals_naive_for_any_mix, be),
      cmocka_unit_test_prestate(threads_do_not_change_bits, be),
      cmocka_unit_test_prestate(weights_are_bf16, be),
  };
  int failed = status != SB_OK ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
  void *state = be;
  return teardown(&state) + failed;
}
