/* Error-compensated rounding against the textbook: after each column the inverse of the remaining
 * second moments is taken anew, in double, and the weights still to come are moved by what
 * minimises the error (optimal brain surgeon). */
#include "tests/kernels/blocks.h"

#include <math.h>

#include "kernels/factor.h"
#include "tests/kernels/stacks.h"
#include "tests/support/grid_kinds.h"

/* One row, in double but for the grid, which is that of the float weights. */
static void textbook(float *out, const float *row, const double *h, size_t n,
                     const sb_tiling *tiling, const uint8_t *bits, sb_code_kind code_kind) {
  double *w = calloc(n, sizeof *w), *rest = calloc(n * n, sizeof *rest);
  float *now = calloc(n, sizeof *now);
  sb_grid grid = {0};
  for (size_t i = 0; i < n; i++) w[i] = (double)row[i];
  for (size_t c = 0; c < n; c++) {
    const size_t m = n - c, block = c / tiling->block_cols;
    if (c % tiling->block_cols == 0) {
      for (size_t i = c; i < n; i++) now[i] = (float)w[i];
      grid = scalar_grid(now + c, sb_tiling_cols_of(tiling, block), bits[block], code_kind);
    }
    for (size_t i = 0; i < m; i++)
      for (size_t j = 0; j < m; j++) rest[i * m + j] = h[(c + i) * n + c + j];
    invert(rest, m);
    out[c] = sb_grid_value(&grid, sb_grid_code(&grid, (float)w[c]));
    const double e = (w[c] - (double)out[c]) / rest[0];
    for (size_t j = 0; j < m; j++) w[c + j] -= e * rest[j];
  }
  free(w);
  free(rest);
  free(now);
}

typedef struct result {
  sb_grid *grids;
  uint8_t *codes;
  float *values; /* [rows, cols] of the block row */
} result;

static result compensate(const float *w, const double *h, const sb_tiling *tiling,
                         const uint8_t *bits, sb_code_kind code_kind, double damping, int threads) {
  const size_t rows = sb_tiling_rows_of(tiling, 0), n = tiling->cols;
  result out = {calloc(rows * sb_tiling_block_cols(tiling), sizeof(sb_grid)), calloc(rows * n, 1),
                calloc(rows * n, sizeof(float))};
  float *left = malloc(rows * n * sizeof *left), *factor = calloc(n * n, sizeof *factor);
  double *copy = malloc(n * n * sizeof *copy);
  sb_factor_repair repair;
  memcpy(left, w, rows * n * sizeof *left);
  memcpy(copy, h, n * n * sizeof *copy);
  omp_set_num_threads(threads);
  assert_ok(sb_factor_lapack(factor, copy, n, damping, &repair));
  stack_of s = stack_make(tiling, bits, code_kind, out.grids, out.codes);
  assert_ok(cpu->op->round_columns(cpu, NULL, &s.stack, left, 0, n, factor, n, false));
  stack_drop(&s);
  for (size_t r = 0; r < rows; r++)
    for (size_t c = 0; c < n; c++)
      out.values[r * n + c] =
          sb_grid_value(&out.grids[c / tiling->block_cols * rows + r], (float)out.codes[r * n + c]);
  free(left);
  free(factor);
  free(copy);
  return out;
}

static void drop(result *x) {
  free(x->grids);
  free(x->codes);
  free(x->values);
}

static const sb_tiling tilings[] = {
    {20, 40, 20, 16}, {5, 33, 4, 8}, {17, 64, 17, 64}, {3, 9, 1, 1}};

static void against_the_textbook(void **state) {
  (void)state;
  for (size_t g = 0; g < sizeof tilings / sizeof *tilings; g++)
    for (int turn = 0; turn < KIND_TURNS; turn++) {
      const sb_code_kind code_kind = kind_of_turn(g, turn);
      const sb_tiling *tiling = &tilings[g];
      const size_t n = tiling->cols, rows = sb_tiling_rows_of(tiling, 0);
      double *h = correlated_moments(n, 3 * n, 10 + g);
      float *w = malloc(rows * n * sizeof *w), *expected = malloc(n * sizeof *expected);
      uint8_t bits[64];
      uint64_t s = 99 + g;
      size_t differ = 0;
      for (size_t k = 0; k < rows * n; k++) w[k] = uniform(&s);
      fill_bits(bits, sb_tiling_block_cols(tiling), 1, 6, g);
      /* no damping to speak of, so that both see the same H */
      result got = compensate(w, h, tiling, bits, code_kind, 1e-12, 1);
      double ours = 0, theirs = 0;
      for (size_t r = 0; r < rows; r++) {
        textbook(expected, w + r * n, h, n, tiling, bits, code_kind);
        for (size_t c = 0; c < n; c++) differ += fabsf(expected[c] - got.values[r * n + c]) > 1e-3f;
        ours += error_of(w + r * n, got.values + r * n, h, n);
        theirs += error_of(w + r * n, expected, h, n);
      }
      /* Ours works in float: now and then a weight lies so near the middle of two levels that it
       * falls to the other side, and what follows in its row with it. The error is the same to a
       * few percent then. */
      if (differ > rows * n / 20)
        fail_msg("grid %zu: %zu of %zu weights differ", g, differ, rows * n);
      if (fabs(ours - theirs) > 0.02 * theirs)
        fail_msg("grid %zu: error %g, textbook %g", g, ours, theirs);
      drop(&got);
      free(h);
      free(w);
      free(expected);
    }
}

/* Uncorrelated inputs leave nothing to make up for: rounding to nearest, to the last bit. */
static void uncorrelated(void **state) {
  (void)state;
  const sb_tiling tiling = {24, 100, 24, 32};
  double *h = calloc(100 * 100, sizeof *h);
  float *w = malloc(24 * 100 * sizeof *w), *nearest = malloc(24 * 100 * sizeof *nearest);
  uint8_t bits[4] = {1, 2, 3, 8};
  for (size_t i = 0; i < 100; i++) h[i * 100 + i] = 1.0 + (double)(i % 7);
  fill_awkward(w, 24, 100, 5);
  scalar_quantize(nearest, w, &tiling, bits, SB_GRID_ASYMMETRIC);
  result got = compensate(w, h, &tiling, bits, SB_GRID_ASYMMETRIC, 0.01, 2);
  assert_memory_equal(got.values, nearest, 24 * 100 * sizeof *nearest);
  drop(&got);
  free(h);
  free(w);
  free(nearest);
}

/* What it is for: less error than rounding to nearest, and the same bits on
 * any number of threads. */
static void better_than_nearest(void **state) {
  (void)state;
  const sb_tiling tiling = {40, 96, 40, 32};
  double *h = correlated_moments(96, 500, 3);
  float *w = malloc(40 * 96 * sizeof *w), *nearest = malloc(40 * 96 * sizeof *nearest);
  uint8_t bits[3] = {2, 3, 4};
  uint64_t s = 1;
  double plain = 0, compensated = 0;
  for (size_t k = 0; k < 40 * 96; k++) w[k] = uniform(&s);
  scalar_quantize(nearest, w, &tiling, bits, SB_GRID_ASYMMETRIC);
  result one = compensate(w, h, &tiling, bits, SB_GRID_ASYMMETRIC, 0.01, 1);
  result three = compensate(w, h, &tiling, bits, SB_GRID_ASYMMETRIC, 0.01, 3);
  for (size_t r = 0; r < 40; r++) {
    plain += error_of(w + r * 96, nearest + r * 96, h, 96);
    compensated += error_of(w + r * 96, one.values + r * 96, h, 96);
  }
  if (!(compensated < 0.5 * plain))
    fail_msg("error %g, rounding to nearest %g", compensated, plain);
  assert_memory_equal(one.codes, three.codes, 40 * 96);
  drop(&one);
  drop(&three);
  free(h);
  free(w);
  free(nearest);
}

/* The factor panel by panel, each packed as it comes over the network: the same bits. */
static void panel_by_panel(void **state) {
  (void)state;
  for (size_t g = 0; g < sizeof tilings / sizeof *tilings; g++)
    for (size_t blocks = 1; blocks <= 3; blocks++) {
      const sb_tiling *tiling = &tilings[g];
      const size_t n = tiling->cols, rows = sb_tiling_rows_of(tiling, 0),
                   width = blocks * tiling->block_cols;
      double *h = correlated_moments(n, 3 * n, 30 + g), *copy = malloc(n * n * sizeof *copy);
      float *w = malloc(rows * n * sizeof *w), *left = malloc(rows * n * sizeof *left);
      float *factor = malloc(n * n * sizeof *factor),
            *panel = malloc((n * n + 4 * n) * sizeof *panel);
      sb_grid *grids = calloc(rows * sb_tiling_block_cols(tiling), sizeof *grids);
      uint8_t *codes = calloc(rows * n, 1), bits[64];
      sb_factor_repair repair;
      uint64_t s = 7 + g;
      for (size_t k = 0; k < rows * n; k++) w[k] = left[k] = uniform(&s);
      fill_bits(bits, sb_tiling_block_cols(tiling), 1, 6, g);
      result whole = compensate(w, h, tiling, bits, SB_GRID_ASYMMETRIC, 0.01, 2);
      memcpy(copy, h, n * n * sizeof *copy);
      assert_ok(sb_factor_lapack(factor, copy, n, 0.01, &repair));
      stack_of st = stack_make(tiling, bits, SB_GRID_ASYMMETRIC, grids, codes);
      for (size_t begin = 0; begin < n; begin += width) {
        const size_t end = sb_min_size(n, begin + width),
                     ld = n - begin + g; /* tight, or with a gap */
        for (size_t r = begin; r < end; r++)
          memcpy(panel + (r - begin) * ld, factor + r * n + begin, (n - begin) * sizeof *panel);
        assert_ok(cpu->op->round_columns(cpu, NULL, &st.stack, left, begin, end, panel, ld, false));
      }
      stack_drop(&st);
      assert_memory_equal(codes, whole.codes, rows * n);
      assert_memory_equal(grids, whole.grids, rows * sb_tiling_block_cols(tiling) * sizeof *grids);
      drop(&whole);
      free(h), free(copy), free(w), free(left), free(factor), free(panel), free(grids), free(codes);
    }
}

/* Moments that cannot be factorised as they are: too few tokens, dead inputs, none at all. */
static void repairs(void **state) {
  (void)state;
  float factor[30 * 30];
  sb_factor_repair repair;
  double *h = correlated_moments(30, 4, 8);
  for (size_t i = 0; i < 30; i++) h[7 * 30 + i] = h[i * 30 + 7] = 0;
  assert_ok(sb_factor_lapack(factor, h, 30, 0.01, &repair));
  assert_int_equal(repair.dead, 1);
  for (size_t i = 0; i < 30; i++)
    assert_true(isfinite(factor[i * 30 + i]) && factor[i * 30 + i] > 0);
  memset(h, 0, 900 * sizeof *h);
  assert_ok(sb_factor_lapack(factor, h, 30, 0.01, &repair));
  assert_int_equal(repair.dead, 30);
  /* indefinite: more damping than asked for */
  memset(h, 0, 900 * sizeof *h);
  for (size_t i = 0; i < 30; i++) h[i * 30 + i] = 1;
  h[1] = h[30] = 1.5;
  assert_ok(sb_factor_lapack(factor, h, 30, 0.01, &repair));
  assert_true(repair.damping > 0.5);
  h[0] = INFINITY;
  assert_int_equal(sb_factor_lapack(factor, h, 30, 0.01, &repair), SB_ERR_NUMERIC);
  free(h);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(against_the_textbook),
                                     cmocka_unit_test(uncorrelated),
                                     cmocka_unit_test(better_than_nearest),
                                     cmocka_unit_test(panel_by_panel), cmocka_unit_test(repairs)};
  return cmocka_run_group_tests(tests, stack_open, stack_close);
}
