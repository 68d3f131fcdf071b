/* Products with packed weights, every set of kernels that this processor has, against weights read
 * bit by bit from the description in kernels/blockrow.h and multiplied in double precision. */
#include "tests/kernels/check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/dtype.h"
#include "kernels/blockrow.h"
#include "kernels/cpu/cpu_packed.h"
#include "kernels/cpu/cpu_trellis_decode.h"
#include "tests/kernels/naive.h"
#include "tests/kernels/packed_case.h"
#include "tests/support/grid_kinds.h"

enum { THREADS = 3 };

static sb_backend *backend_of(sb_cpu_level level, int threads) {
  sb_backend *b = NULL;
  assert_ok(sb_backend_cpu_create(SB_COMPUTE_F32, threads, &b));
  ((sb_cpu *)b->impl)->packed = sb_packed_kernels_at(level);
  return b;
}

static void product(const packed_case *c, sb_cpu_level level, int threads, float *y, const float *x,
                    size_t T, bool add) {
  sb_backend *b = backend_of(level, threads);
  sb_packed w = NULL;
  assert_ok(b->op->packed_create(b, NULL, c->packed, c->offsets, &c->tiling, c->bits, c->code_kind,
                                 NULL, &w));
  assert_ok(b->op->packed_gemm(b, NULL, y, x, T, w, add));
  b->op->packed_destroy(b, w);
  b->op->destroy(b);
}

/* y = x W' (+ before), and of every number the sum of magnitudes that the tolerance
 * is a part of. */
typedef struct expected {
  const float *x, *before;
  const double *y, *size;
  size_t T;
  bool add;
} expected;

/* At one level, with one thread and more. The tolerance is 8 epsilons of the sum of |x|
 * (|w| + |value of code 0|), of which backend.h speaks: a lane adds some 50 numbers
 * here, one after another. */
static void check_level(const packed_case *c, sb_cpu_level level, const expected *e) {
  const size_t rows = c->tiling.rows, cols = c->tiling.cols, count = e->T * rows;
  float *got[THREADS];
  for (int n = 0; n < THREADS; n++) {
    got[n] = check_zeros(count);
    memcpy(got[n], e->before, count * sizeof(float));
    if (!e->add) memset(got[n], 0xff, count * sizeof(float)); /* NaN: nothing of it may be left */
    product(c, level, n + 1, got[n], e->x, e->T, e->add);
    if (n > 0) check_same("another number of threads", got[n], got[0], count);
  }
  for (size_t i = 0; i < count; i++) {
    const double allowed = 8 * 0x1p-23 * (e->size[i] + fabs(e->y[i]));
    if (!(fabs((double)got[0][i] - e->y[i]) <= allowed))
      fail_msg(
          "%s, %zu x %zu in %zu x %zu, %u bits first, symmetry %d, %zu tokens: item %zu is %.9g, "
          "expected %.9g",
          sb_packed_kernels_at(level)->name, rows, cols, c->tiling.block_rows, c->tiling.block_cols,
          c->bits[0], (int)c->code_kind, e->T, i, (double)got[0][i], e->y[i]);
  }
}

static void check_product(const packed_case *c, size_t T, bool add) {
  const size_t rows = c->tiling.rows, cols = c->tiling.cols;
  float *x = check_random(T * cols, 2.0f, 77 + T),
        *before = check_random(T * rows, add ? 1.0f : 0.0f, 3);
  double *want = check_double(before, T * rows), *room = check_double_zeros(T * rows),
         *size = check_double(x, T * cols);
  const expected e = {x, before, want, room, T, add};
  naive_gemm(false, true, T, rows, cols, 1.0, size, cols, c->w, cols, 1.0, want, rows);
  for (size_t i = 0; i < T * cols; i++) size[i] = fabs(size[i]);
  naive_gemm(false, true, T, rows, cols, 1.0, size, cols, c->size, cols, 0.0, room, rows);
  for (int level = 0; level < SB_CPU_LEVELS; level++)
    if (sb_packed_kernels_at((sb_cpu_level)level)) check_level(c, (sb_cpu_level)level, &e);
}

static const uint8_t mix[] = {3, 1, 8, 2, 5, 4, 7, 6};

/* The mix, in which b is 0, and every `stride`-th uniform width from `first` on. */
static void check_shape(sb_tiling tiling, unsigned first, unsigned stride, const size_t *tokens,
                        size_t token_counts) {
  for (int turn = 0; turn < KIND_TURNS; turn++)
    for (unsigned b = 0; b <= SB_MAX_BITS; b = b ? b + stride : first) {
      packed_case c = {.tiling = tiling, .code_kind = kind_of_turn(0, turn)};
      const uint8_t uniform = (uint8_t)b;
      make_case(&c, b ? &uniform : mix, b ? 1 : sizeof mix, 100 + b);
      for (size_t t = 0; t < token_counts; t++) check_product(&c, tokens[t], (t + b) % 2 == 0);
      free(c.packed);
      check_done();
    }
}

/* At every level that this processor has. */
static void every_shape(void **state) {
  (void)state;
  static const sb_tiling shapes[] = {
      {1, 1, 128, 128},  {128, 128, 128, 128}, {33, 300, 128, 128},  {300, 130, 128, 128},
      {47, 515, 20, 64}, {70, 90, 9, 24},      {19, 1100, 16, 1024}, {21, 7, 4, 3},
  };
#ifdef __SANITIZE_ADDRESS__ /* takes a minute there */
  static const size_t tokens[] = {1, 3, 16, 70};
#else
  static const size_t tokens[] = {1, 2, 4, 5, 16, 23, 70};
#endif
  for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
    const bool every_width = shapes[s].rows == 128 || shapes[s].cols == 1100;
    check_shape(shapes[s], every_width ? 1 : 1 + (unsigned)s % 3, every_width ? 1 : 3, tokens,
                sizeof tokens / sizeof *tokens);
  }
  static const size_t long_ones[] = {530}; /* more than are multiplied with a tile at a time */
  check_shape((sb_tiling){34, 48, 32, 32}, 1, 1, long_ones, 1);
}

static void the_fastest_is_taken(void **state) {
  (void)state;
  sb_backend *b = check_backend(SB_COMPUTE_F32);
  const sb_packed_kernels *taken = ((sb_cpu *)b->impl)->packed;
  int level = SB_CPU_LEVELS - 1;
  while (!sb_packed_kernels_at((sb_cpu_level)level)) level--;
  assert_ptr_equal(taken, sb_packed_kernels_at((sb_cpu_level)level));
  assert_ptr_equal(taken->trellis, sb_trellis_kernels_best());
  assert_non_null(sb_packed_kernels_at(SB_CPU_PLAIN));
  b->op->destroy(b);
}

static void refusals(void **state) {
  (void)state;
  sb_backend *b = check_backend(SB_COMPUTE_F32);
  packed_case c = {.tiling = {40, 40, 32, 32}, .code_kind = SB_GRID_ASYMMETRIC};
  sb_packed w = NULL;
  make_case(&c, mix, sizeof mix, 1);
  c.bits[3] = c.bits[3] == 8 ? 7 : 8;
  assert_int_equal(
      b->op->packed_create(b, NULL, c.packed, c.offsets, &c.tiling, c.bits, c.code_kind, NULL, &w),
      SB_ERR_INTERNAL);
  assert_non_null(strstr(sb_message(), "block row 1"));
  c.bits[3] = 0;
  assert_int_equal(
      b->op->packed_create(b, NULL, c.packed, c.offsets, &c.tiling, c.bits, c.code_kind, NULL, &w),
      SB_ERR_INTERNAL);
  assert_null(w);
  c.tiling = (sb_tiling){40, 5000, 32, 4096};
  assert_int_equal(
      b->op->packed_create(b, NULL, c.packed, c.offsets, &c.tiling, c.bits, c.code_kind, NULL, &w),
      SB_ERR_UNSUPPORTED);
  free(c.packed);
  check_done();
  b->op->destroy(b);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(every_shape),
                                     cmocka_unit_test(the_fastest_is_taken),
                                     cmocka_unit_test(refusals)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
