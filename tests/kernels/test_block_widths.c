/* The operations that answer for all widths at once (choose_grids, block_squares, block_curvature)
 * against their definitions in plain loops. */
#include "tests/kernels/blocks.h"
#include "tests/support/grid_kinds.h"

typedef double table[SB_WIDTHS];

typedef struct data {
  sb_backend *backend;
  sb_tiling tiling;
  size_t n, ldg, blocks, columns;
  float *w, *g, *x, *grams, *row_weights, *rounded;
  uint8_t *bits;
  table *got, *again;
  sb_stored_grid *grids;
} data;

enum { TOKENS = 9 };

/* H_j = X_j' X_j, full. */
static void fill_grams(data *d) {
  const size_t width = d->tiling.block_cols;
  for (size_t j = 0; j < d->columns; j++) {
    const size_t n = sb_tiling_cols_of(&d->tiling, j);
    for (size_t a = 0; a < n; a++)
      for (size_t b = 0; b < n; b++) {
        double sum = 0;
        for (size_t t = 0; t < TOKENS; t++)
          sum += (double)d->x[t * d->tiling.cols + j * width + a] *
                 (double)d->x[t * d->tiling.cols + j * width + b];
        d->grams[j * width * width + a * n + b] = (float)sum;
      }
  }
}

static data create(size_t shape) {
  data d = {.tiling = shapes[shape],
            .n = shapes[shape].rows * shapes[shape].cols,
            .ldg = shapes[shape].cols + shape % 3};
  uint64_t seed = shape + 7;
  d.blocks = block_count(&d.tiling);
  d.columns = sb_tiling_block_cols(&d.tiling);
  assert_ok(sb_backend_cpu_create(SB_COMPUTE_F32, 0, &d.backend));
  assert_ok(sb_alloc(&d.w, d.n, 4, "w"));
  assert_ok(sb_alloc(&d.g, d.tiling.rows * d.ldg, 4, "g"));
  assert_ok(sb_alloc(&d.x, TOKENS * d.tiling.cols, 4, "x"));
  assert_ok(sb_alloc(&d.grams, d.columns * d.tiling.block_cols * d.tiling.block_cols, 4, "grams"));
  assert_ok(sb_alloc(&d.row_weights, d.tiling.rows, 4, "weights of rows"));
  assert_ok(sb_alloc(&d.rounded, d.n, 4, "rounded"));
  assert_ok(sb_alloc(&d.bits, d.blocks, 1, "bits"));
  assert_ok(sb_alloc(&d.got, d.blocks, sizeof *d.got, "table"));
  assert_ok(sb_alloc(&d.again, d.blocks, sizeof *d.got, "table"));
  assert_ok(sb_alloc(&d.grids, d.tiling.rows * d.columns * SB_MAX_BITS, sizeof *d.grids, "grids"));
  fill_awkward(d.w, d.tiling.rows, d.tiling.cols, shape);
  for (size_t i = 0; i < d.tiling.rows * d.ldg; i++)
    d.g[i] = i % d.ldg < d.tiling.cols ? uniform(&seed) : NAN; /* not ours */
  for (size_t i = 0; i < TOKENS * d.tiling.cols; i++) d.x[i] = uniform(&seed);
  for (size_t i = 0; i < d.tiling.rows; i++) d.row_weights[i] = fabsf(uniform(&seed));
  fill_grams(&d);
  return d;
}

static void release(data *d) {
  d->backend->op->destroy(d->backend);
  sb_free(&d->w);
  sb_free(&d->g);
  sb_free(&d->x);
  sb_free(&d->grams);
  sb_free(&d->row_weights);
  sb_free(&d->rounded);
  sb_free(&d->bits);
  sb_free(&d->got);
  sb_free(&d->again);
  sb_free(&d->grids);
}

static double error(const data *d, size_t row, size_t col) {
  const size_t at = row * d->tiling.cols + col;
  return (double)d->rounded[at] - (double)d->w[at];
}

/* sum of g^2 e^2 */
static double squares_of(const data *d, size_t k) {
  const size_t i = k / d->columns, j = k % d->columns;
  double sum = 0;
  for (size_t r = 0; r < sb_tiling_rows_of(&d->tiling, i); r++)
    for (size_t c = 0; c < sb_tiling_cols_of(&d->tiling, j); c++) {
      const size_t row = i * d->tiling.block_rows + r, col = j * d->tiling.block_cols + c;
      const double step = (double)d->g[row * d->ldg + col] * error(d, row, col);
      sum += step * step;
    }
  return sum;
}

/* sum over rows of weight |X_j e'|^2, and the size of what a product in float adds
 * up to give it. */
static double curvature_of(const data *d, size_t k, double *size) {
  const size_t i = k / d->columns, j = k % d->columns, n = sb_tiling_cols_of(&d->tiling, j);
  double sum = 0;
  *size = 0;
  for (size_t r = 0; r < sb_tiling_rows_of(&d->tiling, i); r++) {
    const size_t row = i * d->tiling.block_rows + r;
    double square = 0, magnitude = 0;
    for (size_t a = 0; a < n; a++)
      for (size_t b = 0; b < n; b++) {
        const double term =
            (double)d->grams[j * d->tiling.block_cols * d->tiling.block_cols + a * n + b] *
            error(d, row, j * d->tiling.block_cols + a) *
            error(d, row, j * d->tiling.block_cols + b);
        square += term;
        magnitude += fabs(term);
      }
    sum += (double)d->row_weights[row] * square;
    *size += (double)d->row_weights[row] * magnitude;
  }
  return sum;
}

static void squares(data *d, table *out, unsigned least, unsigned most, sb_code_kind code_kind) {
  assert_ok(d->backend->op->choose_grids(
      d->backend, NULL, d->grids,
      &(sb_block_weights){.w = d->w, .dtype = SB_F32, .tiling = &d->tiling, .code_kind = code_kind},
      least, most, NULL));
  assert_ok(d->backend->op->block_squares(
      d->backend, NULL, out, d->g, d->ldg,
      &(sb_block_weights){.w = d->w, .dtype = SB_F32, .tiling = &d->tiling}, d->grids, least,
      most));
}

static void curvature(data *d, table *out, size_t first, size_t count, unsigned least,
                      unsigned most, sb_code_kind code_kind) {
  assert_ok(d->backend->op->block_curvature(
      d->backend, NULL, out,
      &(sb_block_weights){.w = d->w, .dtype = SB_F32, .tiling = &d->tiling, .code_kind = code_kind},
      first, count, d->grams, d->row_weights, least, most, NULL));
}

static void test_definitions(void **state) {
  (void)state;
  for (size_t i = 0; i < SHAPES; i++)
    for (int s = 0; s < KIND_TURNS; s++) {
      const sb_code_kind code_kind = kind_of_turn(i, s);
      data d = create(i);
      const unsigned least = i % 2 ? 1 : 2, most = i % 3 ? 8 : 5;
      for (size_t k = 0; k < d.blocks; k++)
        for (int b = 0; b < SB_WIDTHS; b++) d.got[k][b] = d.again[k][b] = -1;
      squares(&d, d.got, least, most, code_kind);
      curvature(&d, d.again, 0, sb_tiling_block_rows(&d.tiling), least, most, code_kind);
      for (unsigned b = 0; b < SB_WIDTHS; b++) {
        memset(d.bits, (int)b, d.blocks);
        if (b > 0) scalar_quantize(d.rounded, d.w, &d.tiling, d.bits, code_kind);
        for (size_t k = 0; k < d.blocks; k++) {
          double size;
          if (b < least || b > most) { /* left alone */
            assert_true(d.got[k][b] == -1 && d.again[k][b] == -1);
            continue;
          }
          /* All terms are positive: roundings of 2^-24 of the step, its square and a
           * float lane of it. */
          const double want = squares_of(&d, k);
          const double terms = (double)(sb_min_size(d.tiling.block_cols, d.tiling.cols) / 16 + 6);
          assert_true(fabs(d.got[k][b] - want) <= terms * 0x1p-24 * want);
          /* Two products in float over n terms; in practice far less than the bound. */
          const double bend = curvature_of(&d, k, &size);
          const double columns = (double)sb_min_size(d.tiling.block_cols, d.tiling.cols) + 4;
          assert_true(fabs(d.again[k][b] - bend) <= 2 * columns * 0x1p-24 * size);
        }
      }
      release(&d);
    }
}

/* Every number of threads, and rows in parts, give the same bits. */
static void test_same_bits(void **state) {
  const int threads = omp_get_max_threads();
  (void)state;
  for (size_t i = 0; i < SHAPES; i++) {
    data d = create(i);
    const size_t rows = sb_tiling_block_rows(&d.tiling), bytes = d.blocks * sizeof *d.got;
    for (int twice = 0; twice < 2; twice++) {
      memset(d.got, 0, bytes);
      memset(d.again, 0, bytes);
      omp_set_num_threads(1);
      if (twice)
        squares(&d, d.got, 1, 8, SB_GRID_ASYMMETRIC);
      else
        curvature(&d, d.got, 0, rows, 1, 8, SB_GRID_ASYMMETRIC);
      omp_set_num_threads(3);
      if (twice) {
        squares(&d, d.again, 1, 8, SB_GRID_ASYMMETRIC);
      } else {
        const size_t half = rows / 2;
        curvature(&d, d.again + half * d.columns, half, rows - half, 1, 8, SB_GRID_ASYMMETRIC);
        curvature(&d, d.again, 0, half, 1, 8, SB_GRID_ASYMMETRIC);
      }
      assert_memory_equal(d.got, d.again, bytes);
    }
    release(&d);
  }
  omp_set_num_threads(threads);
}

/* three: the grids of moves from b bits. */
static void check_moves(const data *d, const sb_stored_grid *three, size_t groups, unsigned b) {
  for (size_t g = 0; g < groups; g++)
    for (unsigned k = 0; k < SB_MOVES; k++)
      if (b + k < 2)
        assert_true(three[SB_MOVES * g + k].scale == UINT16_MAX); /* left alone */
      else if (b + k < 10)
        assert_memory_equal(&three[SB_MOVES * g + k], &d->grids[8 * g + b + k - 2], sizeof *three);
}

static void check_rounded(const data *d, unsigned b) {
  for (size_t at = 0; at < d->n; at++) {
    const size_t j = at % d->tiling.cols / d->tiling.block_cols;
    const sb_stored_grid *stored = &d->grids[(at / d->tiling.cols * d->columns + j) * 8 + b - 1];
    const sb_grid grid = sb_grid_load(stored, b);
    assert_true(sb_grid_value(&grid, sb_grid_code(&grid, d->w[at])) == d->rounded[at]);
  }
}

/* Three fp16 numbers are the whole grid: what they round to is what quantize_blocks gives. The
 * grids of moves are those of three widths. */
static void test_stored_grids(void **state) {
  (void)state;
  for (size_t i = 0; i < SHAPES; i++)
    for (int s = 0; s < 2 * KIND_TURNS; s++) {
      data d = create(i);
      const sb_code_kind code_kind = kind_of_turn(i, s % KIND_TURNS);
      const size_t groups = d.tiling.rows * d.columns;
      float *importance = NULL;
      uint8_t *fits = NULL;
      sb_stored_grid *three = NULL;
      uint8_t *none = NULL; /* blocks of 0 bits are left alone */
      assert_ok(sb_alloc(&none, d.blocks, 1, "bits"));
      const sb_block_weights m = {d.w, SB_F32, &d.tiling, d.bits, code_kind},
                             unquantized = {d.w, SB_F32, &d.tiling, none, code_kind};
      assert_ok(sb_alloc(&three, SB_MOVES * groups, sizeof *three, "grids"));
      for (size_t g = 0; g < SB_MOVES * groups; g++) three[g].scale = UINT16_MAX;
      if (s >= KIND_TURNS) {
        assert_ok(sb_alloc(&fits, groups, 1, "fits"));
        assert_ok(sb_alloc(&importance, d.tiling.cols, sizeof *importance, "importance"));
        for (size_t c = 0; c < d.tiling.cols; c++) importance[c] = 1.0f + (float)(c % 5);
      }
      assert_ok(d.backend->op->choose_grids(d.backend, NULL, d.grids, &m, 1, 8, importance));
      for (unsigned b = 1; b <= 8; b++) {
        memset(d.bits, (int)b, d.blocks);
        if (fits) assert_ok(d.backend->op->fit_blocks(d.backend, NULL, fits, &m, importance));
        assert_ok(d.backend->op->quantize_blocks(d.backend, NULL, d.rounded, SB_F32, &m, fits));
        assert_ok(d.backend->op->move_grids(d.backend, NULL, three, &m, importance, fits));
        assert_ok(d.backend->op->move_grids(d.backend, NULL, three, &unquantized, NULL, NULL));
        check_moves(&d, three, groups, b);
        check_rounded(&d, b);
      }
      sb_free(&none);
      sb_free(&three);
      sb_free(&fits);
      sb_free(&importance);
      release(&d);
    }
}

/* 16-bit weights are those numbers in float. */
static void test_types(void **state) {
  static const sb_dtype types[] = {SB_BF16, SB_F16};
  (void)state;
  for (size_t i = 0; i < SHAPES; i++)
    for (int t = 0; t < 2; t++) {
      data d = create(i);
      const size_t rows = sb_tiling_block_rows(&d.tiling), bytes = d.blocks * sizeof *d.got;
      uint16_t *half = NULL;
      assert_ok(sb_alloc(&half, d.n, 2, "w"));
      for (size_t at = 0; at < d.n; at++)
        if (fabsf(d.w[at]) > 60000.0f) d.w[at] = 1000.0f;
      sb_from_f32(half, types[t], d.w, d.n);
      sb_to_f32(d.w, half, types[t], d.n);
      squares(&d, d.got, 1, 8, SB_GRID_SYMMETRIC);
      assert_ok(d.backend->op->choose_grids(
          d.backend, NULL, d.grids,
          &(sb_block_weights){
              .w = half, .dtype = types[t], .tiling = &d.tiling, .code_kind = SB_GRID_SYMMETRIC},
          1, 8, NULL));
      assert_ok(d.backend->op->block_squares(
          d.backend, NULL, d.again, d.g, d.ldg,
          &(sb_block_weights){.w = half, .dtype = types[t], .tiling = &d.tiling}, d.grids, 1, 8));
      assert_memory_equal(d.got, d.again, bytes);
      curvature(&d, d.got, 0, rows, 1, 8, SB_GRID_SYMMETRIC);
      assert_ok(d.backend->op->block_curvature(
          d.backend, NULL, d.again,
          &(sb_block_weights){
              .w = half, .dtype = types[t], .tiling = &d.tiling, .code_kind = SB_GRID_SYMMETRIC},
          0, rows, d.grams, d.row_weights, 1, 8, NULL));
      assert_memory_equal(d.got, d.again, bytes);
      sb_free(&half);
      release(&d);
    }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_definitions),
      cmocka_unit_test(test_same_bits),
      cmocka_unit_test(test_stored_grids),
      cmocka_unit_test(test_types),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
