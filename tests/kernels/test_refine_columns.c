/* Coordinate descent against brute force: the residual by definition, the error that never grows,
 * and at the end no code and no scale that would make it less. */
#include "tests/kernels/blocks.h"

#include <math.h>

#include "kernels/blockrow.h"
#include "tests/kernels/stacks.h"
#include "tests/support/grid_kinds.h"

/* Second moments of 3 n correlated inputs, with a diagonal that makes them well-conditioned. */
static float *moments(size_t n, uint64_t seed) {
  double *h = calloc(n * n, sizeof *h);
  float *out = malloc(n * n * sizeof *out), *x = calloc(n, sizeof *x);
  for (size_t t = 0; t < 3 * n; t++) {
    const float common = uniform(&seed);
    for (size_t i = 0; i < n; i++) x[i] = uniform(&seed) + common + (i ? 0.4f * x[i - 1] : 0.0f);
    for (size_t i = 0; i < n; i++)
      for (size_t j = 0; j < n; j++) h[i * n + j] += (double)x[i] * (double)x[j];
  }
  for (size_t i = 0; i < n * n; i++)
    out[i] = (float)(h[i] + (i % (n + 1) == 0 ? 0.1 * (double)n : 0.0));
  free(h);
  free(x);
  return out;
}

typedef struct rounded {
  const sb_tiling *tiling;
  size_t rows, n;
  sb_code_kind code_kind;
  uint8_t bits[64];
  float *w, *h, *residual;
  sb_grid *grids;
  uint8_t *codes;
} rounded;

/* Random weights, rounded to nearest. */
static rounded make(const sb_tiling *tiling, sb_code_kind code_kind, unsigned least, unsigned most,
                    uint64_t seed) {
  rounded x = {.tiling = tiling,
               .rows = sb_tiling_rows_of(tiling, 0),
               .n = tiling->cols,
               .code_kind = code_kind};
  uint64_t s = seed;
  x.w = malloc(x.rows * x.n * sizeof *x.w);
  x.residual = calloc(x.rows * x.n, sizeof *x.residual);
  x.grids = calloc(x.rows * sb_tiling_block_cols(tiling), sizeof *x.grids);
  x.codes = calloc(x.rows * x.n, 1);
  x.h = moments(x.n, seed + 1);
  for (size_t k = 0; k < x.rows * x.n; k++) x.w[k] = uniform(&s);
  fill_bits(x.bits, sb_tiling_block_cols(tiling), least, most, seed);
  sb_blockrow_choose(x.grids, x.codes, x.w, SB_F32, tiling, 0, x.bits, code_kind, NULL);
  return x;
}

static void drop(rounded *x) {
  free(x->w), free(x->h), free(x->residual), free(x->grids), free(x->codes);
}

static sb_grid *grid_at(const rounded *x, size_t r, size_t c) {
  return &x->grids[c / x->tiling->block_cols * x->rows + r];
}

static double value_at(const rounded *x, size_t r, size_t c) {
  return (double)sb_grid_value(grid_at(x, r, c), (float)x->codes[r * x->n + c]);
}

static double error_of_row(const rounded *x, size_t r) {
  double sum = 0;
  for (size_t i = 0; i < x->n; i++)
    for (size_t j = 0; j < x->n; j++)
      sum += (value_at(x, r, i) - (double)x->w[r * x->n + i]) * (double)x->h[i * x->n + j] *
             (value_at(x, r, j) - (double)x->w[r * x->n + j]);
  return sum;
}

/* Sums of n products in float, of values up to the largest of H times the largest error. */
static void check_residual(const rounded *x, const char *when) {
  double largest = 0;
  for (size_t k = 0; k < x->n * x->n; k++) largest = fmax(largest, fabs((double)x->h[k]));
  for (size_t r = 0; r < x->rows; r++)
    for (size_t c = 0; c < x->n; c++) {
      double want = 0;
      for (size_t k = 0; k < x->n; k++)
        want += (value_at(x, r, k) - (double)x->w[r * x->n + k]) * (double)x->h[k * x->n + c];
      if (fabs(want - (double)x->residual[r * x->n + c]) > 1e-5 * largest)
        fail_msg("%s: residual (%zu, %zu) is %g, should be %g", when, r, c,
                 (double)x->residual[r * x->n + c], want);
    }
}

/* In panels of `width` columns. */
static void begin(rounded *x, size_t width) {
  stack_of s = stack_make(x->tiling, x->bits, x->code_kind, x->grids, x->codes);
  for (size_t a = 0; a < x->n; a += width)
    assert_ok(cpu->op->refine_residual(cpu, NULL, &s.stack, x->residual, x->w, a,
                                       sb_min_size(x->n, a + width), x->h + a * x->n));
  stack_drop(&s);
}
static void pass(rounded *x, size_t width) {
  stack_of s = stack_make(x->tiling, x->bits, x->code_kind, x->grids, x->codes);
  for (size_t a = 0; a < x->n; a += width)
    assert_ok(cpu->op->refine_columns(cpu, NULL, &s.stack, x->residual, a,
                                      sb_min_size(x->n, a + width), x->h + a * x->n));
  stack_drop(&s);
}

static const sb_tiling tilings[] = {
    {20, 40, 20, 16}, {5, 33, 4, 8}, {35, 64, 35, 64}, {3, 9, 1, 1}};

/* No other code of any weight has less error, to what float sums leave undecided. */
static void check_codes(rounded *x, size_t r, double error) {
  for (size_t c = 0; c < x->n; c++) {
    const uint8_t kept = x->codes[r * x->n + c];
    for (unsigned code = 0; code < 1u << x->bits[c / x->tiling->block_cols]; code++) {
      x->codes[r * x->n + c] = (uint8_t)code;
      const double other = error_of_row(x, r);
      if (other < error * (1 - 1e-4))
        fail_msg("row %zu: code %u in place of %u: %g -> %g", r, code, kept, error, other);
    }
    x->codes[r * x->n + c] = kept;
  }
}

/* Nor has any neighbouring scale of fp16, or of 8 or 5 significant bits. */
static void check_scales(rounded *x, size_t r, double error) {
  for (size_t c = 0; c < x->n; c += x->tiling->block_cols) {
    sb_grid *grid = grid_at(x, r, c), kept = *grid;
    for (int side = -1; side <= 1; side += 2) {
      const float step = x->code_kind < SB_GRID_ASYMMETRIC_BF16   ? 0x1p-10f
                         : x->code_kind < SB_GRID_ASYMMETRIC_6BIT ? 0x1p-7f
                                                                  : 0x1p-4f,
                  scale = sb_grid_scale(kept.scale * (1.0f + (float)side * step), x->code_kind);
      *grid = sb_grid_make(scale, kept.center, kept.base, x->bits[c / x->tiling->block_cols]);
      const double other = error_of_row(x, r);
      if (other < error * (1 - 1e-4))
        fail_msg("row %zu: scale %g in place of %g: %g -> %g", r, (double)scale, (double)kept.scale,
                 error, other);
      *grid = kept;
    }
  }
}

static void ends_where_nothing_helps(void **state) {
  (void)state;
  for (size_t g = 0; g < sizeof tilings / sizeof *tilings; g++)
    for (int turn = 0; turn < KIND_TURNS; turn++) {
      rounded x = make(&tilings[g], kind_of_turn(g, turn), 1, 4, 50 + g);
      double *errors = calloc(x.rows, sizeof *errors), first = 0, last = 0;
      begin(&x, x.n);
      check_residual(&x, "at the start");
      for (size_t r = 0; r < x.rows; r++) first += errors[r] = error_of_row(&x, r);
      for (int k = 0; k < 60; k++) {
        pass(&x, x.n);
        for (size_t r = 0; r < x.rows; r++) {
          const double now = error_of_row(&x, r);
          if (now > errors[r] * (1 + 1e-5))
            fail_msg("pass %d, row %zu: %g -> %g", k, r, errors[r], now);
          errors[r] = now;
        }
      }
      check_residual(&x, "at the end");
      for (size_t r = 0; r < x.rows; r++) {
        check_codes(&x, r, errors[r]);
        check_scales(&x, r, errors[r]);
        last += errors[r];
      }
      if (tilings[g].cols > 9 && last > 0.7 * first)
        fail_msg("grid %zu: %g -> %g: hardly better", g, first, last);
      free(errors);
      drop(&x);
    }
}

/* What can be packed stays so: fp16 scales, codes of the width. */
static void can_be_packed(void **state) {
  (void)state;
  const sb_tiling *tiling = &tilings[0];
  for (int code_kind = 0; code_kind < SB_TRELLIS_12; code_kind++) {
    rounded x = make(tiling, (sb_code_kind)code_kind, 1, 8, 3);
    uint8_t *packed = malloc(sb_blockrow_bytes(tiling, 0, x.bits, x.code_kind));
    float *values = malloc(x.rows * x.n * sizeof *values);
    begin(&x, x.n);
    for (int k = 0; k < 3; k++) pass(&x, x.n);
    sb_blockrow_pack(packed, x.grids, x.codes, tiling, 0, x.bits, x.code_kind, NULL);
    sb_blockrow_decode(values, SB_F32, packed, tiling, 0, 0, sb_tiling_block_cols(tiling),
                       x.code_kind, NULL);
    for (size_t r = 0; r < x.rows; r++)
      for (size_t c = 0; c < x.n; c++)
        assert_true((double)values[r * x.n + c] == value_at(&x, r, c));
    free(packed);
    free(values);
    drop(&x);
  }
}

/* H panel by panel, on any number of threads: the same bits. The residual's first sums are of other
 * GEMMs there, so both start from the same one. */
static void panels_and_threads(void **state) {
  (void)state;
  for (size_t g = 0; g < sizeof tilings / sizeof *tilings; g++)
    for (size_t blocks = 1; blocks <= 2; blocks++) {
      const sb_tiling *tiling = &tilings[g];
      rounded one = make(tiling, SB_GRID_ASYMMETRIC, 1, 5, 70 + g),
              other = make(tiling, SB_GRID_ASYMMETRIC, 1, 5, 70 + g);
      omp_set_num_threads(1);
      begin(&one, one.n);
      memcpy(other.residual, one.residual, one.rows * one.n * sizeof *one.residual);
      pass(&one, one.n);
      omp_set_num_threads(3);
      pass(&other, blocks * tiling->block_cols);
      assert_memory_equal(one.codes, other.codes, one.rows * one.n);
      assert_memory_equal(one.grids, other.grids,
                          one.rows * sb_tiling_block_cols(tiling) * sizeof *one.grids);
      check_residual(&other, "in panels");
      drop(&one);
      drop(&other);
    }
}

/* Groups of equal weights have no scale, or nothing that a scale could do. */
static void flat_groups(void **state) {
  (void)state;
  const sb_tiling tiling = {2, 8, 2, 4};
  rounded x = make(&tiling, SB_GRID_ASYMMETRIC, 2, 2, 1);
  memset(x.w, 0, 16 * sizeof *x.w);
  sb_blockrow_choose(x.grids, x.codes, x.w, SB_F32, &tiling, 0, x.bits, SB_GRID_ASYMMETRIC, NULL);
  begin(&x, 8);
  pass(&x, 8);
  for (size_t c = 0; c < 8; c++) assert_true(value_at(&x, 0, c) == 0 && value_at(&x, 1, c) == 0);
  drop(&x);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(ends_where_nothing_helps), cmocka_unit_test(can_be_packed),
      cmocka_unit_test(panels_and_threads), cmocka_unit_test(flat_groups)};
  return cmocka_run_group_tests(tests, stack_open, stack_close);
}
