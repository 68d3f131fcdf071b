/* Products in every type, with factors and without, against plain loops in double. */
#include "tests/kernels/check.h"
#include "tests/kernels/naive.h"

enum { SHAPES = 4 };
static const size_t shapes[SHAPES][3] = {{1, 1, 1}, {17, 33, 65}, {70, 130, 40}, {144, 48, 256}};

static uint16_t *halves(const float *x, size_t count) {
  uint16_t *out = (uint16_t *)check_zeros((count + 1) / 2);
  for (size_t i = 0; i < count; i++) out[i] = sb_f32_to_bf16(x[i]);
  return out;
}

static double *doubles(const uint16_t *x, size_t count) {
  double *out = check_double_zeros(count);
  for (size_t i = 0; i < count; i++) out[i] = (double)sb_bf16_to_f32(x[i]);
  return out;
}

typedef struct kind {
  sb_gemm_type type;
  bool a_is_bf16, b_is_bf16;
} kind;

/* Products of two bf16 numbers are exact, and those of two floats are wrong by 2^-24, as sums and
 * the factor are: at most (k + 2) 2^-24 of the sum of magnitudes, which is below k x factor. */
static void check_product(sb_backend *be, const size_t *shape, int way, const kind *of) {
  const size_t m = shape[0], n = shape[1], k = shape[2], pad = way % 3;
  const bool ta = way & 1, tb = way & 2, add = way & 4, scaled_a = way & 8, scaled_b = way & 16;
  const size_t lda = (ta ? m : k) + pad, ldb = (tb ? k : n) + pad, ldc = n + pad,
               na = (ta ? k : m) * lda, nb = (tb ? n : k) * ldb;
  const float *a = check_random(na, 1.0f, 1), *b = check_random(nb, 1.0f, 2),
              *factor = check_random(2, 3.0f, 4);
  const uint16_t *half_a = halves(a, na), *half_b = halves(b, nb);
  float *c = check_random(m * ldc, 1.0f, 3);
  double *want = check_double(c, m * ldc);
  const double alpha = (scaled_a ? (double)factor[0] : 1.0) * (scaled_b ? (double)factor[1] : 1.0);
  naive_gemm(ta, tb, m, n, k, alpha, of->a_is_bf16 ? doubles(half_a, na) : check_double(a, na), lda,
             of->b_is_bf16 ? doubles(half_b, nb) : check_double(b, nb), ldb, add ? 1.0 : 0.0, want,
             ldc);
  const sb_gemm_args args = {
      .m = m,
      .n = n,
      .k = k,
      .a = {of->a_is_bf16 ? (const void *)half_a : a, of->a_is_bf16 ? SB_BF16 : SB_F32, lda, ta},
      .b = {of->b_is_bf16 ? (const void *)half_b : b, of->b_is_bf16 ? SB_BF16 : SB_F32, ldb, tb},
      .c = c,
      .c_dtype = SB_F32,
      .ldc = ldc,
      .add = add,
      .type = of->type,
      .scale_a = scaled_a ? factor : NULL,
      .scale_b = scaled_b ? factor + 1 : NULL};
  assert_ok(be->op->gemm(be, NULL, &args));
  assert_ok(be->op->sync(be, NULL));
  const double magnitude = alpha < 0 ? -alpha : alpha;
  check_close("gemm", c, want, m * ldc, (double)(k + 2) * 0x1p-24 * (magnitude + 1), (double)k);
  check_done();
}

static void equals_naive(sb_compute compute, const kind *kinds, size_t count) {
  sb_backend *be = check_backend(compute);
  for (size_t s = 0; s < SHAPES; s++)
    for (int way = 0; way < 32; way++)
      for (size_t i = 0; i < count; i++) check_product(be, shapes[s], way, &kinds[i]);
  be->op->destroy(be);
}

static void on_an_f32_backend(void **state) {
  static const kind kinds[] = {{SB_GEMM_OPERANDS, false, false},
                               {SB_GEMM_OPERANDS, true, false},
                               {SB_GEMM_F32, false, true},
                               {SB_GEMM_BF16, true, true}};
  (void)state;
  equals_naive(SB_COMPUTE_F32, kinds, sizeof kinds / sizeof *kinds);
}

/* f32 operands of such a backend are rounded, unless the product asks for f32. */
static void on_a_bf16_backend(void **state) {
  static const kind kinds[] = {{SB_GEMM_OPERANDS, true, true},
                               {SB_GEMM_F32, false, false},
                               {SB_GEMM_F32, true, false},
                               {SB_GEMM_BF16, true, true}};
  (void)state;
  sb_backend *able = NULL; /* not every processor multiplies bf16 */
  if (sb_backend_cpu_create(SB_COMPUTE_BF16, 1, &able) != SB_OK) skip();
  able->op->destroy(able);
  equals_naive(SB_COMPUTE_BF16, kinds, sizeof kinds / sizeof *kinds);
}

static void bf16_rounds_nothing(void **state) {
  (void)state;
  sb_backend *be = check_backend(SB_COMPUTE_F32);
  float a[4] = {0}, c[1] = {0};
  assert_int_equal(be->op->gemm(be, NULL,
                                &(sb_gemm_args){.m = 1,
                                                .n = 1,
                                                .k = 4,
                                                .a = {a, SB_F32, 4, false},
                                                .b = {a, SB_BF16, 1, false},
                                                .c = c,
                                                .c_dtype = SB_F32,
                                                .ldc = 1,
                                                .type = SB_GEMM_BF16}),
                   SB_ERR_INTERNAL);
  be->op->destroy(be);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(on_an_f32_backend),
                                     cmocka_unit_test(on_a_bf16_backend),
                                     cmocka_unit_test(bf16_rounds_nothing)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
