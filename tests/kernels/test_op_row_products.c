#include "tests/kernels/check.h"

#include <math.h>

/* Two products are rounded to f32, 6e-8 each. */
static const double tolerance = 1.3e-7;

static double term(const sb_row_term *t, size_t i) {
  return (double)(t->minus ? t->plus[i] - t->minus[i] : t->plus[i]);
}

static void holds(const sb_row_products_args *args) {
  for (size_t p = 0; p < args->pair_count; p++)
    for (size_t r = 0; r < args->rows; r++) {
      double want = 0, size = 0;
      for (size_t c = 0; c < args->cols; c++) {
        const size_t i = r * args->cols + c;
        const double product = term(&args->terms[args->pairs[p][0]], i) *
                               term(&args->terms[args->pairs[p][1]], i) *
                               (args->weight ? (double)args->weight[c] : 1);
        want += product;
        size += fabs(product);
      }
      assert_true(fabs(args->out[p * args->rows + r] - want) <= tolerance * size);
    }
}

static void equals_plain_loops(void **state) {
  static const size_t shapes[][2] = {{1, 1}, {3, 7}, {5, 8}, {2, 255}, {17, 300}, {4, 1000}};
  sb_backend *be = *state;
  for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
    const size_t rows = shapes[s][0], cols = shapes[s][1], n = rows * cols;
    double out[SB_ROW_PAIRS * 17];
    sb_row_products_args args = {.rows = rows,
                                 .cols = cols,
                                 .term_count = 3,
                                 .pair_count = 4,
                                 .terms = {{check_random(n, 1, 1), check_random(n, 1, 2)},
                                           {check_random(n, 3, 3), NULL},
                                           {check_random(n, 1, 4), check_random(n, 1, 5)}},
                                 .pairs = {{0, 0}, {0, 1}, {2, 1}, {2, 2}},
                                 .out = out};
    assert_ok(be->op->row_products(be, NULL, &args));
    assert_ok(be->op->sync(be, NULL));
    holds(&args);
    args.weight = check_random(cols, 2, 6);
    args.term_count = args.pair_count = 1;
    assert_ok(be->op->row_products(be, NULL, &args));
    assert_ok(be->op->sync(be, NULL));
    holds(&args);
    check_done();
  }
}

static int make(void **state) {
  *state = check_backend(SB_COMPUTE_F32);
  return 0;
}
static int destroy(void **state) {
  sb_backend *be = *state;
  be->op->destroy(be);
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(equals_plain_loops)};
  return cmocka_run_group_tests(tests, make, destroy);
}
