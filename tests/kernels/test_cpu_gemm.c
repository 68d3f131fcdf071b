#include "tests/kernels/check.h"

#include <math.h>
#include <omp.h>
#include <string.h>

#include "kernels/cpu/cpu_gemm_tile.h"
#include "tests/kernels/naive.h"

typedef struct problem {
  size_t m, n, k, pad; /* pad: extra floats in every row */
  bool add;
} problem;

static const problem problems[] = {
    {1, 1, 1, 0, false},     {3, 5, 7, 2, false},       {17, 33, 65, 0, true},
    {130, 67, 200, 3, true}, {257, 301, 129, 0, false}, {512, 192, 96, 0, true},
    {1, 1300, 40, 0, false}, {700, 3, 31, 1, true},     {2050, 4100, 3, 0, false},
};

/* Errors of a sum of k products of numbers below 1 in f32: at most k roundings of about 2^-24 of
 * the running sum, which is itself below k; in practice sqrt(k). 1e-6 * k is safe and 1000 times
 * below a missing term. */
static void one(sb_backend *be, const problem *p, bool ta, bool tb) {
  size_t lda = (ta ? p->m : p->k) + p->pad, ldb = (tb ? p->k : p->n) + p->pad, ldc = p->n + p->pad;
  size_t na = (ta ? p->k : p->m) * lda, nb = (tb ? p->n : p->k) * ldb, nc = p->m * ldc;
  float *a = check_random(na, 1.0f, 1), *b = check_random(nb, 1.0f, 2),
        *c = check_random(nc, 1.0f, 3);
  double *want = check_double(c, nc);
  naive_gemm(ta, tb, p->m, p->n, p->k, 1.0, check_double(a, na), lda, check_double(b, nb), ldb,
             p->add ? 1.0 : 0.0, want, ldc);
  assert_ok(be->op->gemm(be, NULL,
                         &(sb_gemm_args){.m = p->m,
                                         .n = p->n,
                                         .k = p->k,
                                         .a = {a, SB_F32, lda, ta},
                                         .b = {b, SB_F32, ldb, tb},
                                         .c = c,
                                         .c_dtype = SB_F32,
                                         .ldc = ldc,
                                         .add = p->add}));
  check_close("gemm", c, want, nc, 1e-6 * (double)p->k,
              1.0); /* the padding of C, too, must be as it was */
}

static void equals_naive(void **state) {
  sb_backend *be = *state;
  for (size_t i = 0; i < sizeof problems / sizeof *problems; i++)
    for (int kind = 0; kind < 4; kind++) {
      one(be, &problems[i], kind & 1, kind & 2);
      check_done();
    }
}

/* Whole tiles and one last tile in each direction cover C exactly, whatever the shape. */
static void cuts_cover_the_result(void **state) {
  (void)state;
  const size_t targets[][2] = {{128, 576}, {512, 144}, {256, 576}};
  for (size_t i = 0; i < 3; i++)
    for (size_t m = 1; m < 9000; m += 1 + m / 3)
      for (size_t n = 1; n < 9000; n += 1 + n / 5) {
        sb_gemm_cut cut = sb_gemm_cut_of(m, n, targets[i][0], targets[i][1]);
        assert_true(cut.count_m >= 1 && cut.count_n >= 1);
        assert_true((cut.count_m - 1) * cut.tile_m < m && cut.count_m * cut.tile_m >= m);
        assert_true((cut.count_n - 1) * cut.tile_n < n && cut.count_n * cut.tile_n >= n);
        assert_true(cut.count_m * cut.count_n >= 4 || m * n <= 4 * targets[i][0] * targets[i][1]);
      }
}

static void threads_do_not_change_bits(void **state) {
  sb_backend *be = *state;
  const size_t shapes[][3] = {{512, 576, 576}, {300, 1537, 111}, {192, 576, 512}, {5, 40, 2000}};
  int threads = omp_get_max_threads();
  for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
    for (int kind = 0; kind < 4; kind++) {
      size_t m = shapes[s][0], n = shapes[s][1], k = shapes[s][2];
      bool ta = kind & 1, tb = kind & 2;
      float *a = check_random(m * k, 1.0f, 4), *b = check_random(n * k, 1.0f, 5), *c[4];
      for (int t = 1; t <= 3; t++) {
        c[t] = check_zeros(m * n);
        omp_set_num_threads(t);
        assert_ok(be->op->gemm(be, NULL,
                               &(sb_gemm_args){.m = m,
                                               .n = n,
                                               .k = k,
                                               .a = {a, SB_F32, ta ? m : k, ta},
                                               .b = {b, SB_F32, tb ? k : n, tb},
                                               .c = c[t],
                                               .c_dtype = SB_F32,
                                               .ldc = n}));
        assert_int_equal(omp_get_max_threads(), t); /* the caller's setting is left alone */
        check_same("gemm on more threads", c[t], c[1], m * n);
      }
      check_done();
    }
  omp_set_num_threads(threads);
}

/* Nor does the address: operands and result one float further on. */
static void alignment_does_not_change_bits(void **state) {
  sb_backend *be = *state;
  enum { M = 300, N = 211, K = 129 };
  for (int kind = 0; kind < 4; kind++) {
    bool ta = kind & 1, tb = kind & 2;
    float *a = check_random(M * K, 1.0f, 4), *b = check_random(N * K, 1.0f, 5), *c[2];
    for (size_t shift = 0; shift < 2; shift++) {
      float *a2 = check_zeros(M * K + 1) + shift, *b2 = check_zeros(N * K + 1) + shift;
      memcpy(a2, a, M * K * sizeof *a);
      memcpy(b2, b, N * K * sizeof *b);
      c[shift] = check_zeros(M * N + 1) + shift;
      assert_ok(be->op->gemm(be, NULL,
                             &(sb_gemm_args){.m = M,
                                             .n = N,
                                             .k = K,
                                             .a = {a2, SB_F32, ta ? M : K, ta},
                                             .b = {b2, SB_F32, tb ? K : N, tb},
                                             .c = c[shift],
                                             .c_dtype = SB_F32,
                                             .ldc = N}));
    }
    check_same("gemm at another address", c[1], c[0], M * N);
    check_done();
  }
}

/* Without `add` C is not read: NaN there stays out of the result. */
static void overwrites(void **state) {
  sb_backend *be = *state;
  float a[4] = {1, 2, 3, 4}, b[4] = {1, 0, 0, 1}, c[4] = {NAN, NAN, NAN, NAN};
  assert_ok(be->op->gemm(be, NULL,
                         &(sb_gemm_args){.m = 2,
                                         .n = 2,
                                         .k = 2,
                                         .a = sb_view(a, SB_F32, 2),
                                         .b = sb_view(b, SB_F32, 2),
                                         .c = c,
                                         .c_dtype = SB_F32,
                                         .ldc = 2}));
  assert_memory_equal(a, c, sizeof a);
  c[0] = NAN;
  assert_ok(be->op->gemm(be, NULL,
                         &(sb_gemm_args){.m = 2,
                                         .n = 2,
                                         .k = 0,
                                         .a = sb_view(a, SB_F32, 2),
                                         .b = sb_view(b, SB_F32, 2),
                                         .c = c,
                                         .c_dtype = SB_F32,
                                         .ldc = 2}));
  for (int i = 0; i < 4; i++) assert_true(c[i] == 0.0f);
}

/* bf16 and f16 operands of an f32 backend are the numbers they stand for. */
static void half_operands(void **state) {
  sb_backend *be = *state;
  enum { M = 20, N = 24, K = 33, LD = 40 };
  float *a = check_random(M * LD, 1.0f, 6), *b = check_random(N * K, 1.0f, 7);
  uint16_t half_a[M * LD], half_b[N * K];
  sb_from_f32(half_a, SB_BF16, a, M * LD);
  sb_from_f32(half_b, SB_F16, b, N * K);
  sb_to_f32(a, half_a, SB_BF16, M * LD);
  sb_to_f32(b, half_b, SB_F16, N * K);
  float *c = check_zeros(M * N);
  double *want = check_double_zeros(M * N);
  naive_gemm(false, true, M, N, K, 1.0, check_double(a, M * LD), LD, check_double(b, N * K), K, 0.0,
             want, N);
  assert_ok(be->op->gemm(be, NULL,
                         &(sb_gemm_args){.m = M,
                                         .n = N,
                                         .k = K,
                                         .a = sb_view(half_a, SB_BF16, LD),
                                         .b = sb_view_transposed(half_b, SB_F16, K),
                                         .c = c,
                                         .c_dtype = SB_F32,
                                         .ldc = N}));
  check_close("gemm of halves", c, want, M * N, 1e-6 * K, 1.0);
  check_done();
}

static void counts_flops_and_time(void **state) {
  sb_backend *be = *state;
  float a[6] = {0}, c[4];
  double flops = be->gemm_flops, seconds = be->gemm_seconds;
  assert_ok(be->op->gemm(be, NULL,
                         &(sb_gemm_args){.m = 2,
                                         .n = 2,
                                         .k = 3,
                                         .a = sb_view(a, SB_F32, 3),
                                         .b = sb_view_transposed(a, SB_F32, 3),
                                         .c = c,
                                         .c_dtype = SB_F32,
                                         .ldc = 2}));
  assert_true(be->gemm_flops == flops + 24.0);
  assert_true(be->gemm_seconds > seconds && be->gemm_seconds < seconds + 1.0);
}

static void refuses_what_it_cannot(void **state) {
  sb_backend *be = *state;
  float x[4] = {0};
  const sb_gemm_args good = {.m = 2,
                             .n = 2,
                             .k = 2,
                             .a = sb_view(x, SB_F32, 2),
                             .b = sb_view(x, SB_F32, 2),
                             .c = x,
                             .c_dtype = SB_F32,
                             .ldc = 2};
  sb_gemm_args result = good, type = good, row = good;
  result.c_dtype = SB_BF16;
  type.a = sb_view(x, SB_I8, 2);
  row.a = sb_view(x, SB_F32, 1);
  assert_int_equal(be->op->gemm(be, NULL, &result), SB_ERR_UNSUPPORTED);
  assert_int_equal(be->op->gemm(be, NULL, &type), SB_ERR_UNSUPPORTED);
  assert_int_equal(be->op->gemm(be, NULL, &row), SB_ERR_INTERNAL);
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
      cmocka_unit_test(equals_naive),
      cmocka_unit_test(cuts_cover_the_result),
      cmocka_unit_test(threads_do_not_change_bits),
      cmocka_unit_test(alignment_does_not_change_bits),
      cmocka_unit_test(overwrites),
      cmocka_unit_test(half_operands),
      cmocka_unit_test(counts_flops_and_time),
      cmocka_unit_test(refuses_what_it_cannot),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
