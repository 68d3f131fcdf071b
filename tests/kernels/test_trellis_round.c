/* Rounding to trellis codes with feedback against the textbook: before each column of tiles the
 * inverse of the remaining second moments is taken anew, in double, and the weights still to come
 * are moved by what minimises the error that the column leaves. Values are decoded from the packed
 * bytes. */
#include "tests/kernels/blocks.h"

#include <math.h>

#include "kernels/alphabet_trellis.h"
#include "kernels/cpu/cpu_viterbi.h"
#include "kernels/factor.h"
#include "kernels/shared/trellis_scale.h"
#include "tests/kernels/stacks.h"

/* A block row, or several of the same shape, and what becomes of them. */
typedef struct rounded {
  const sb_tiling *tiling;
  sb_code_kind kind;
  const uint8_t *bits; /* [block columns] */
  size_t rows;         /* of all block rows */
  sb_grid *grids;
  uint8_t *codes;
  float *values; /* [rows, cols] */
} rounded;

static rounded rounded_of(const sb_tiling *tiling, sb_code_kind kind, const uint8_t *bits) {
  const size_t rows = tiling->rows, n = tiling->cols;
  return (rounded){tiling,
                   kind,
                   bits,
                   rows,
                   calloc(rows * sb_tiling_block_cols(tiling), sizeof(sb_grid)),
                   calloc(rows * n, 1),
                   calloc(rows * n, sizeof(float))};
}
static void drop(rounded *x) {
  free(x->grids);
  free(x->codes);
  free(x->values);
}

/* Values of block (i, j), by way of its bytes. */
static void decode_block(rounded *x, size_t i, size_t j) {
  const sb_tiling *t = x->tiling;
  const sb_block_shape shape = {sb_tiling_rows_of(t, i), sb_tiling_cols_of(t, j), x->bits[j],
                                x->kind};
  const size_t first = i * t->block_rows, at = first * t->cols + j * t->block_cols;
  uint8_t *bytes = malloc(sb_trellis_block_bytes(&shape));
  sb_trellis_block_pack(&shape, bytes, x->codes + at, t->cols);
  sb_trellis_block_decode(&shape, bytes, x->grids[j * x->rows + first].scale, x->values + at,
                          t->cols);
  free(bytes);
}

/* Rounds w [rows, cols], whose block rows are one stack, panels of `panel` columns at a time. */
static rounded round_it(const float *w, const double *h, const sb_tiling *tiling, sb_code_kind kind,
                        const uint8_t *bits, double damping, size_t panel, int threads) {
  rounded out = rounded_of(tiling, kind, bits);
  const size_t rows = tiling->rows, n = tiling->cols, count = sb_tiling_block_rows(tiling),
               columns = sb_tiling_block_cols(tiling);
  float *left = malloc(rows * n * sizeof *left), *factor = calloc(n * n, sizeof *factor);
  double *copy = malloc(n * n * sizeof *copy);
  size_t *starts = calloc(count + 1, sizeof *starts);
  uint8_t *widths = malloc(columns * rows);
  sb_factor_repair repair;
  memcpy(left, w, rows * n * sizeof *left);
  memcpy(copy, h, n * n * sizeof *copy);
  omp_set_num_threads(threads);
  assert_ok(sb_factor_lapack(factor, copy, n, damping, &repair));
  for (size_t i = 0; i < count; i++) starts[i + 1] = starts[i] + sb_tiling_rows_of(tiling, i);
  for (size_t j = 0; j < columns; j++) memset(widths + j * rows, bits[j], rows);
  const sb_stack stack = {rows, n,      tiling->block_cols, count,    starts,
                          kind, widths, out.grids,          out.codes};
  for (size_t begin = 0; begin < n; begin += panel)
    assert_ok(cpu->op->trellis_round(cpu, NULL, &stack, left, begin,
                                     begin + panel < n ? begin + panel : n,
                                     factor + begin * n + begin, n));
  for (size_t i = 0; i < count; i++)
    for (size_t j = 0; j < columns; j++) decode_block(&out, i, j);
  free(left);
  free(factor);
  free(copy);
  free(starts);
  free(widths);
  return out;
}

static double error_in_all(const float *w, const float *q, const double *h, const sb_tiling *t) {
  double sum = 0;
  for (size_t r = 0; r < t->rows; r++)
    sum += error_of(w + r * t->cols, q + r * t->cols, h, t->cols);
  return sum;
}

/* ---- the textbook ---- */

/* Moves the weights behind columns [c, c + n) of a row by what is best, given that these are left
 * with errors w - q: the rest moves by -errors H_cd H_dd^-1, here from the inverse of what remains
 * of H: errors (inverse_cc)^-1 inverse_cd. */
static void make_up(double *w, const float *q, const double *rest, size_t m, size_t n) {
  double errors[16], corner[16 * 16];
  for (size_t i = 0; i < n; i++) errors[i] = w[i] - (double)q[i];
  for (size_t i = 0; i < n; i++)
    for (size_t j = 0; j < n; j++) corner[i * n + j] = rest[i * m + j];
  invert(corner, n);
  for (size_t i = 0; i < n; i++) {
    double by = 0;
    for (size_t j = 0; j < n; j++) by += errors[j] * corner[j * n + i];
    for (size_t k = n; k < m; k++) w[k] -= by * rest[i * m + k];
  }
}

typedef struct verdict {
  size_t tiles, differ;
  double ours, theirs; /* squared errors of tiles, from the same targets */
} verdict;

/* Codes columns [c, c + n) of block j of a block row once more, from the textbook's weights
 * w [rows, cols], and compares. */
static void recode(const rounded *x, const double *w, size_t j, size_t c, size_t n, verdict *v) {
  const size_t rows = x->rows, cols = x->tiling->cols;
  const sb_trellis t = sb_trellis_of(x->kind, x->bits[j]);
  float *target = malloc(rows * n * sizeof *target), *value = malloc(rows * n * sizeof *value);
  uint8_t *codes = malloc(rows * n);
  sb_viterbi *viterbi = NULL;
  assert_ok(sb_viterbi_create(&t, &viterbi));
  for (size_t r = 0; r < rows; r++)
    for (size_t k = 0; k < n; k++) target[r * n + k] = (float)w[r * cols + c + k];
  sb_viterbi_panel(viterbi, x->grids[j * rows].scale, rows, n, target, n, codes, n, value, n);
  for (size_t first = 0; first < rows; first += t.tile_rows) {
    bool same = true;
    for (size_t r = first; r < rows && r < first + t.tile_rows; r++)
      for (size_t k = 0; k < n; k++) {
        const double to = (double)target[r * n + k], theirs = (double)value[r * n + k] - to,
                     ours = (double)x->values[r * cols + c + k] - to;
        same = same && codes[r * n + k] == x->codes[r * cols + c + k];
        v->theirs += theirs * theirs;
        v->ours += ours * ours;
      }
    v->tiles++;
    v->differ += !same;
  }
  sb_viterbi_destroy(&viterbi);
  free(target);
  free(value);
  free(codes);
}

/* The scale of block j, from the textbook's weights as they are when it is reached. */
static void expect_scale(const rounded *x, const double *w, size_t j) {
  const size_t rows = x->rows, first = j * x->tiling->block_cols,
               cols = sb_tiling_cols_of(x->tiling, j);
  const sb_trellis t = sb_trellis_of(x->kind, x->bits[j]);
  double squares = 0;
  for (size_t r = 0; r < rows; r++)
    for (size_t c = first; c < first + cols; c++)
      squares += w[r * x->tiling->cols + c] * w[r * x->tiling->cols + c];
  const double expected = t.exl3 ? 1.0
                                 : sqrt(squares / (double)(rows * cols)) *
                                       (double)sb_trellis_feedback_gain(x->bits[j]) /
                                       (double)sb_trellis_unit(&t);
  for (size_t r = 0; r < rows; r++) { /* of fp16: half of 2^-10, and what floats left */
    const double scale = (double)x->grids[j * rows + r].scale;
    if (fabs(scale - expected) > 0.0006 * expected)
      fail_msg("block %zu, row %zu: scale %g, expected %g", j, r, scale, expected);
  }
}

static verdict follow(const rounded *x, const float *from, const double *h) {
  const size_t n = x->tiling->cols, block = x->tiling->block_cols;
  const size_t step = sb_trellis_of(x->kind, 1).tile_cols;
  double *w = malloc(x->rows * n * sizeof *w), *rest = malloc(n * n * sizeof *rest);
  verdict v = {0};
  for (size_t k = 0; k < x->rows * n; k++) w[k] = (double)from[k];
  for (size_t c = 0, cols; c < n; c += cols) {
    const size_t m = n - c, left = block - c % block;
    cols = sb_min_size(step, sb_min_size(left, m));
    if (c % block == 0) expect_scale(x, w, c / block);
    recode(x, w, c / block, c, cols, &v);
    for (size_t i = 0; i < m; i++)
      for (size_t j = 0; j < m; j++) rest[i * m + j] = h[(c + i) * n + c + j];
    invert(rest, m);
    for (size_t r = 0; r < x->rows; r++)
      make_up(w + r * n + c, x->values + r * n + c, rest, m, cols);
  }
  free(w);
  free(rest);
  return v;
}

/* ---- tests ---- */

static float *weights(size_t count, uint64_t seed) {
  float *w = malloc(count * sizeof *w);
  uint64_t s = seed;
  for (size_t k = 0; k < count; k++) w[k] = 0.3f * (uniform(&s) + uniform(&s) + uniform(&s));
  return w;
}

static const struct {
  sb_tiling tiling;
  uint8_t bits[3];
  sb_code_kind kind;
} cases[] = {{{128, 96, 128, 48}, {2, 3, 0}, SB_TRELLIS_12},
             {{70, 90, 70, 38}, {1, 4, 2}, SB_TRELLIS_12},
             {{64, 64, 64, 64}, {8, 0, 0}, SB_TRELLIS_12},
             {{48, 64, 48, 32}, {2, 2, 0}, SB_TRELLIS_EXL3}};

/* Ours works in float, so targets differ in the last bits, and now and then a tile finds another
 * walk, of the same cost but for rounding. What comes after is measured against its own codes. */
static void against_the_textbook(void **state) {
  (void)state;
  for (size_t g = 0; g < sizeof cases / sizeof *cases; g++) {
    const sb_tiling *tiling = &cases[g].tiling;
    const size_t n = tiling->cols;
    double *h = correlated_moments(n, 3 * n, 20 + g);
    float *w = weights(tiling->rows * n, 7 + g);
    rounded x = round_it(w, h, tiling, cases[g].kind, cases[g].bits, 1e-12, n, 2);
    const verdict v = follow(&x, w, h);
    if (v.differ > v.tiles / 8) fail_msg("case %zu: %zu of %zu tiles differ", g, v.differ, v.tiles);
    if (fabs(v.ours - v.theirs) > 1e-3 * v.theirs)
      fail_msg("case %zu: error %g, textbook %g", g, v.ours, v.theirs);
    drop(&x);
    free(h);
    free(w);
  }
}

/* What it is for: less error by H than codes to nearest, which are those by an H of uncorrelated
 * inputs. */
static void better_than_nearest(void **state) {
  (void)state;
  const sb_tiling tiling = {64, 128, 64, 64};
  const uint8_t bits[] = {2, 2};
  double *h = correlated_moments(128, 500, 3), *one = calloc(128 * 128, sizeof *one);
  float *w = weights(64 * 128, 1);
  for (size_t i = 0; i < 128; i++) one[i * 128 + i] = 1;
  rounded nearest = round_it(w, one, &tiling, SB_TRELLIS_12, bits, 0.01, 128, 2),
          x = round_it(w, h, &tiling, SB_TRELLIS_12, bits, 0.01, 128, 2);
  const double plain = error_in_all(w, nearest.values, h, &tiling),
               compensated = error_in_all(w, x.values, h, &tiling);
  if (!(compensated < 0.5 * plain)) fail_msg("error %g, to nearest %g", compensated, plain);
  drop(&nearest);
  drop(&x);
  free(h);
  free(one);
  free(w);
}

/* The same bits on any number of threads, from a factor that comes in panels, and for a block row
 * with others beside it or alone. Products of other shapes may add in another order, which moves
 * targets by the last bit: panels are held to that on this processor's library. */
static void same_bits(void **state) {
  (void)state;
  const sb_tiling tiling = {150, 96, 64, 32}, last = {22, 96, 64, 32};
  const uint8_t bits[] = {2, 1, 3};
  double *h = correlated_moments(96, 400, 5);
  float *w = weights(150 * 96, 2);
  rounded x = round_it(w, h, &tiling, SB_TRELLIS_12, bits, 0.01, 96, 1),
          threads = round_it(w, h, &tiling, SB_TRELLIS_12, bits, 0.01, 96, 3),
          panels = round_it(w, h, &tiling, SB_TRELLIS_12, bits, 0.01, 32, 2),
          alone = round_it(w + 128 * 96, h, &last, SB_TRELLIS_12, bits, 0.01, 96, 2);
  assert_memory_equal(x.codes, threads.codes, 150 * 96);
  assert_memory_equal(x.grids, threads.grids, 150 * 3 * sizeof *x.grids);
  assert_memory_equal(x.codes, panels.codes, 150 * 96);
  assert_memory_equal(x.codes + 128 * 96, alone.codes, 22 * 96);
  drop(&x);
  drop(&threads);
  drop(&panels);
  drop(&alone);
  free(h);
  free(w);
}

/* Zeros have a scale above 0, whose values are next to nothing; nothing is infinite or no number.
 */
static void zeros(void **state) {
  (void)state;
  const sb_tiling tiling = {64, 32, 64, 32};
  const uint8_t bits[] = {2};
  double *h = correlated_moments(32, 100, 5);
  float *w = calloc(64 * 32, sizeof *w);
  rounded x = round_it(w, h, &tiling, SB_TRELLIS_12, bits, 0.01, 32, 2);
  for (size_t k = 0; k < 64 * 32; k++)
    if (!(fabsf(x.values[k]) < 1e-4f)) fail_msg("value %zu: %g", k, (double)x.values[k]);
  assert_true(x.grids[0].scale > 0.0f);
  drop(&x);
  free(h);
  free(w);
}

static void refuses_grids(void **state) {
  (void)state;
  const sb_tiling tiling = {8, 8, 8, 8};
  const uint8_t bits[] = {2};
  sb_grid grids[8];
  uint8_t codes[64];
  float w[64] = {0}, factor[64] = {0};
  stack_of s = stack_make(&tiling, bits, SB_GRID_SYMMETRIC, grids, codes);
  assert_fails(cpu->op->trellis_round(cpu, NULL, &s.stack, w, 0, 8, factor, 8), SB_ERR_INTERNAL,
               "grids");
  stack_drop(&s);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(against_the_textbook),
      cmocka_unit_test(better_than_nearest),
      cmocka_unit_test(same_bits),
      cmocka_unit_test(zeros),
      cmocka_unit_test(refuses_grids),
  };
  return cmocka_run_group_tests(tests, stack_open, stack_close);
}
