/* f32 products made of bf16 ones, against plain loops in double, and beside the library's f32
 * products: their errors are of one size. */
#include <math.h>

#include "kernels/cpu/cpu_gemm_split.h"
#include "tests/kernels/check.h"
#include "tests/kernels/naive.h"

/* Edges of tiles (16, 32) and of pieces (256 rows, 1024 columns, 512 terms). */
static const size_t shapes[][3] = {{32, 32, 32},    {47, 33, 64},   {33, 90, 35},
                                   {270, 65, 513},  {64, 1050, 48}, {100, 40, 1100},
                                   {256, 704, 256}, {300, 128, 130}};
enum { SHAPES = sizeof shapes / sizeof *shapes };

typedef struct problem {
  size_t m, n, k;
  bool ta, tb, add, scaled;
  const float *a, *b, *before, *factor;
  size_t lda, ldb, ldc;
} problem;

static problem problem_of(const size_t *shape, int way) {
  problem p = {shape[0], shape[1], shape[2], way & 1, way & 2, way & 4, way & 8,
               0,        0,        0,        0,       0,       0,       0};
  const size_t pad = way % 3;
  p.lda = (p.ta ? p.m : p.k) + pad;
  p.ldb = (p.tb ? p.k : p.n) + pad;
  p.ldc = p.n + pad;
  p.a = check_random((p.ta ? p.k : p.m) * p.lda, 1.0f, 1);
  p.b = check_random((p.tb ? p.n : p.k) * p.ldb, 1.0f, 2);
  p.before = check_random(p.m * p.ldc, 1.0f, 3);
  p.factor = check_random(1, 3.0f, 4);
  return p;
}

static float *multiply(const problem *p, bool split, int threads) {
  sb_backend *be = NULL;
  float *c = check_zeros(p->m * p->ldc);
  memcpy(c, p->before, p->m * p->ldc * sizeof *c);
  assert_ok(sb_backend_cpu_create(SB_COMPUTE_F32, threads, &be));
  be->split_f32 = split;
  assert_ok(be->op->gemm(be, NULL,
                         &(sb_gemm_args){.m = p->m,
                                         .n = p->n,
                                         .k = p->k,
                                         .a = {p->a, SB_F32, p->lda, p->ta},
                                         .b = {p->b, SB_F32, p->ldb, p->tb},
                                         .c = c,
                                         .c_dtype = SB_F32,
                                         .ldc = p->ldc,
                                         .add = p->add,
                                         .scale_a = p->scaled ? p->factor : NULL}));
  be->op->destroy(be);
  return c;
}

static double *exact(const problem *p) {
  double *want = check_double(p->before, p->m * p->ldc);
  naive_gemm(p->ta, p->tb, p->m, p->n, p->k, p->scaled ? (double)*p->factor : 1.0,
             check_double(p->a, (p->ta ? p->k : p->m) * p->lda), p->lda,
             check_double(p->b, (p->tb ? p->n : p->k) * p->ldb), p->ldb, p->add ? 1.0 : 0.0, want,
             p->ldc);
  return want;
}

static double distance(const float *got, const double *want, size_t count) {
  double sum = 0;
  for (size_t i = 0; i < count; i++) sum += pow((double)got[i] - want[i], 2);
  return sqrt(sum / (double)count);
}

static void is_as_exact_as_f32(void **state) {
  (void)state;
  double largest = 0;
  for (size_t s = 0; s < SHAPES; s++)
    for (int way = 0; way < 16; way++) {
      const problem p = problem_of(shapes[s], way);
      const float *split = multiply(&p, true, 1), *usual = multiply(&p, false, 1);
      const double *want = exact(&p);
      const size_t count = p.m * p.ldc; /* the padding of C, too, must be as it was */
      check_close("split gemm", split, want, count, 1e-6 * sqrt((double)p.k), 1.0);
      const double ratio = distance(split, want, count) / distance(usual, want, count);
      assert_memory_not_equal(split, usual, count * sizeof *split); /* it was made in another way */
      largest = fmax(largest, ratio);
      check_done();
    }
  print_message("root mean square error, as a multiple of the library's: %.2f at most\n", largest);
  assert_true(largest < 1.5);
}

/* Numbers of very different sizes keep their relative precision. */
static void sizes_do_not_matter(void **state) {
  (void)state;
  enum { N = 64 };
  float *a = check_random(N * N, 1.0f, 5), *b = check_zeros(N * N);
  for (size_t i = 0; i < N; i++) b[i * N + i] = 1.0f;
  for (size_t i = 0; i < N * N; i++) a[i] = ldexpf(a[i], (int)(i * 37 % 180) - 90);
  const problem p = {N, N, N, false, false, false, false, a, b, check_zeros(N * N), NULL, N, N, N};
  const float *c = multiply(&p, true, 1);
  for (size_t i = 0; i < N * N; i++) assert_true(fabsf(c[i] - a[i]) <= 0x1p-23f * fabsf(a[i]));
  check_done();
}

static void what_is_no_number_is_seen(void **state) {
  (void)state;
  enum { N = 48 };
  for (int kind = 0; kind < 2; kind++) {
    float *a = check_random(N * N, 1.0f, 6);
    a[5 * N + 7] = kind == 0 ? NAN : INFINITY;
    const problem p = {
        N,    N, N, false, false, false, false, a, check_random(N * N, 1.0f, 7), check_zeros(N * N),
        NULL, N, N, N};
    const float *c = multiply(&p, true, 1);
    for (size_t i = 0; i < N * N; i++) assert_true(isfinite(c[i]) == (i / N != 5));
    check_done();
  }
}

static void threads_do_not_change_bits(void **state) {
  (void)state;
  for (size_t s = 0; s < SHAPES; s++)
    for (int way = 0; way < 4; way++) {
      const problem p = problem_of(shapes[s], way);
      const float *one = multiply(&p, true, 1);
      for (int threads = 2; threads <= 5; threads += 3)
        check_same("split gemm on more threads", multiply(&p, true, threads), one, p.m * p.ldc);
      check_done();
    }
}

int main(void) {
  if (!sb_cpu_split_able()) {
    print_message("skipped: no AMX\n");
    return 0;
  }
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(is_as_exact_as_f32), cmocka_unit_test(sizes_do_not_matter),
      cmocka_unit_test(what_is_no_number_is_seen), cmocka_unit_test(threads_do_not_change_bits)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
