/* add_grams and add_squares: against sums in double, in any order, with any threads, and limb for
 * limb against mpi/exact.h. */
#include "tests/kernels/check.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "mpi/exact.h"

/* tokens, columns, columns of a block */
static const size_t shapes[][3] = {{1, 1, 1},       {7, 33, 16},     {40, 200, 64},
                                   {127, 300, 128}, {19, 100, 1000}, {5, 513, 7}};
enum { SHAPES = sizeof shapes / sizeof *shapes };

static sb_exact *zeros(size_t count) {
  sb_exact *sums = calloc(count, sizeof *sums);
  assert_non_null(sums);
  return sums;
}

static void add(sb_backend *be, sb_exact *grams, sb_exact *squares, const float *x,
                const size_t *shape, int exponent) {
  assert_ok(be->op->add_grams(be, NULL, &grams->high, x, shape[0], shape[1], shape[2], exponent));
  assert_ok(be->op->add_squares(be, NULL, &squares->high, x, shape[0], shape[1], exponent));
}

/* <column a, column b> of the tokens, and of magnitudes. */
static double product(const float *x, const size_t *shape, size_t a, size_t b, double *size) {
  double sum = 0;
  *size = 0;
  for (size_t t = 0; t < shape[0]; t++) {
    const double term = (double)x[t * shape[1] + a] * (double)x[t * shape[1] + b];
    sum += term;
    *size += fabs(term);
  }
  return sum;
}

static void equals_naive(void **state) {
  sb_backend *be = *state;
  for (size_t i = 0; i < SHAPES; i++) {
    const size_t *shape = shapes[i], count = sb_grams_count(shape[1], shape[2]);
    const float *x = check_random(shape[0] * shape[1], 3.0f, i);
    sb_exact *grams = zeros(count), *squares = zeros(shape[1]);
    size_t seen = 0;
    add(be, grams, squares, x, shape, -3);
    for (size_t j = 0; j * shape[2] < shape[1]; j++)
      for (size_t r = 0; r < shape[2] && j * shape[2] + r < shape[1]; r++) {
        double size;
        for (size_t c = 0; c <= r; c++, seen++) {
          const double want = product(x, shape, j * shape[2] + r, j * shape[2] + c, &size);
          /* products of floats added in float: at worst 2^-24 of the magnitudes a term */
          assert_true(fabs(8 * sb_exact_value(&grams[seen]) - want) <=
                      0x1p-24 * (double)shape[0] * size);
        }
        const double want = product(x, shape, j * shape[2] + r, j * shape[2] + r, &size);
        assert_true(fabs(8 * sb_exact_value(&squares[j * shape[2] + r]) - want) <=
                    0x1p-24 * (double)shape[0] * size);
      }
    assert_int_equal(seen, count);
    free(grams);
    free(squares);
    check_done();
  }
}

static void order_and_threads_do_not_matter(void **state) {
  sb_backend *be = *state;
  const int threads = omp_get_max_threads();
  for (size_t i = 0; i < SHAPES; i++) {
    const size_t *shape = shapes[i], count = sb_grams_count(shape[1], shape[2]);
    /* sizes so unlike that sums in double would show the order */
    const float *x[3] = {check_random(shape[0] * shape[1], 1e4f, 1),
                         check_random(shape[0] * shape[1], 1e-6f, 2),
                         check_random(shape[0] * shape[1], 1.0f, 3)};
    sb_exact *grams[2] = {zeros(count), zeros(count)},
             *squares[2] = {zeros(shape[1]), zeros(shape[1])};
    for (int s = 0; s < 3; s++) {
      omp_set_num_threads(1);
      add(be, grams[0], squares[0], x[s], shape, -16);
      omp_set_num_threads(3);
      add(be, grams[1], squares[1], x[2 - s], shape, -16);
    }
    assert_memory_equal(grams[0], grams[1], count * sizeof **grams);
    assert_memory_equal(squares[0], squares[1], shape[1] * sizeof **squares);
    for (int k = 0; k < 2; k++) {
      free(grams[k]);
      free(squares[k]);
    }
    check_done();
  }
  omp_set_num_threads(threads);
}

/* One token: what is added is a single product, rounded to float, and mpi/exact.h
 * can add the same. */
static void limbs_are_those_of_exact_sums(void **state) {
  sb_backend *be = *state;
  enum { N = 37 };
  const size_t shape[3] = {1, N, N};
  sb_exact grams[N * (N + 1) / 2] = {0}, squares[N] = {0}, want = {0}, wants[N] = {0};
  for (int round = 0; round < 40; round++) {
    float *x = check_random(N, ldexpf(1.0f, round - 26), (uint64_t)round);
    add(be, grams, squares, x, shape, 2);
    assert_ok(sb_exact_add(&want, 4.0 * (double)(x[11] * x[5])));
    for (int c = 0; c < N; c++) assert_ok(sb_exact_add(&wants[c], 4.0 * (double)(x[c] * x[c])));
    assert_memory_equal(&grams[11 * 12 / 2 + 5], &want, sizeof want);
    assert_memory_equal(squares, wants, sizeof wants);
  }
  check_done();
}

static void refuses(void **state) {
  sb_backend *be = *state;
  const size_t shape[3] = {2, 20, 8};
  static const float bad[] = {NAN, INFINITY, -INFINITY, 1e5f /* squared beyond 2^30 */};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    float *x = check_random(40, 1.0f, 1);
    sb_exact grams[100] = {0}, squares[20] = {0};
    x[33] = bad[i];
    assert_int_equal(be->op->add_grams(be, NULL, &grams->high, x, shape[0], shape[1], shape[2], 0),
                     SB_ERR_NUMERIC);
    assert_int_equal(be->op->add_squares(be, NULL, &squares->high, x, shape[0], shape[1], 0),
                     SB_ERR_NUMERIC);
    check_done();
  }
  /* and where only the sum is too much */
  float *x = check_random(40, 0.0f, 1);
  sb_exact squares[20] = {0};
  sb_status status = SB_OK;
  int calls = 0;
  x[3] = 0x1p14f;
  for (; status == SB_OK && calls < 100; calls++)
    status = be->op->add_squares(be, NULL, &squares->high, x, 2, 20, 0);
  assert_int_equal(status, SB_ERR_NUMERIC);
  assert_int_equal(calls, 4); /* of 2^28 each */
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
      cmocka_unit_test(equals_naive), cmocka_unit_test(order_and_threads_do_not_matter),
      cmocka_unit_test(limbs_are_those_of_exact_sums), cmocka_unit_test(refuses)};
  return cmocka_run_group_tests(tests, setup, teardown);
}
