/* channel_scores against its definition: a quantized copy and sums in double. */
#include "tests/kernels/blocks.h"
#include "tests/support/grid_kinds.h"

typedef struct data {
  sb_backend *backend;
  sb_tiling tiling;
  size_t n, ldg, blocks;
  float *w, *g, *now;
  uint8_t *bits;
  double *rows, *cols, *rows_again, *cols_again;
} data;

static data create(size_t shape) {
  data d = {.tiling = shapes[shape],
            .n = shapes[shape].rows * shapes[shape].cols,
            .ldg = shapes[shape].cols + shape % 3};
  uint64_t seed = shape + 31;
  d.blocks = block_count(&d.tiling);
  assert_ok(sb_backend_cpu_create(SB_COMPUTE_F32, 0, &d.backend));
  assert_ok(sb_alloc(&d.w, d.n, 4, "w"));
  assert_ok(sb_alloc(&d.g, d.tiling.rows * d.ldg, 4, "g"));
  assert_ok(sb_alloc(&d.now, d.n, 4, "now"));
  assert_ok(sb_alloc(&d.bits, d.blocks, 1, "bits"));
  assert_ok(sb_alloc(&d.rows, d.tiling.rows, 8, "sums"));
  assert_ok(sb_alloc(&d.cols, d.tiling.cols, 8, "sums"));
  assert_ok(sb_alloc(&d.rows_again, d.tiling.rows, 8, "sums"));
  assert_ok(sb_alloc(&d.cols_again, d.tiling.cols, 8, "sums"));
  fill_awkward(d.w, d.tiling.rows, d.tiling.cols, shape);
  for (size_t i = 0; i < d.tiling.rows * d.ldg; i++)
    d.g[i] = i % d.ldg < d.tiling.cols ? uniform(&seed) : NAN; /* not ours */
  fill_bits(d.bits, d.blocks, 1, 8, shape);
  return d;
}

static void release(data *d) {
  d->backend->op->destroy(d->backend);
  sb_free(&d->w);
  sb_free(&d->g);
  sb_free(&d->now);
  sb_free(&d->bits);
  sb_free(&d->rows);
  sb_free(&d->cols);
  sb_free(&d->rows_again);
  sb_free(&d->cols_again);
}

static double score(const data *d, size_t r, size_t c, bool absolute) {
  const double e = (double)d->g[r * d->ldg + c] *
                   ((double)d->now[r * d->tiling.cols + c] - (double)d->w[r * d->tiling.cols + c]);
  return absolute ? fabs(e) : e * e;
}

static void check(const data *d, bool absolute) {
  /* all terms are positive: each has four roundings to float at most, and a lane adds up so many */
  const double tolerance =
      ((double)(sb_min_size(d->tiling.block_cols, d->tiling.cols) / 16) + 6) * 0x1p-24;
  for (size_t r = 0; r < d->tiling.rows; r++) {
    double sum = 0;
    for (size_t c = 0; c < d->tiling.cols; c++) sum += score(d, r, c, absolute);
    assert_true(fabs(d->rows[r] - sum) <= tolerance * sum + 1e-36);
  }
  for (size_t c = 0; c < d->tiling.cols; c++) {
    double sum = 0;
    for (size_t r = 0; r < d->tiling.rows; r++) sum += score(d, r, c, absolute);
    assert_true(fabs(d->cols[c] - sum) <= tolerance * sum + 1e-36);
  }
}

static void sums(data *d, double *rows, double *cols, const void *w, sb_dtype dtype, bool absolute,
                 sb_code_kind code_kind) {
  assert_ok(d->backend->op->channel_scores(
      d->backend, NULL, rows, cols, d->g, d->ldg,
      &(sb_block_weights){
          .w = w, .dtype = dtype, .tiling = &d->tiling, .bits = d->bits, .code_kind = code_kind},
      NULL, absolute));
}

static void test_definition(void **state) {
  (void)state;
  for (size_t i = 0; i < SHAPES; i++)
    for (int s = 0; s < 2 * KIND_TURNS; s++) {
      const sb_code_kind code_kind = kind_of_turn(i, s % KIND_TURNS);
      const bool absolute = s >= KIND_TURNS;
      data d = create(i);
      scalar_quantize(d.now, d.w, &d.tiling, d.bits, code_kind);
      omp_set_num_threads(1);
      sums(&d, d.rows, d.cols, d.w, SB_F32, absolute, code_kind);
      check(&d, absolute);
      for (int threads = 2; threads <= 5; threads++) {
        omp_set_num_threads(threads);
        sums(&d, d.rows_again, d.cols_again, d.w, SB_F32, absolute, code_kind);
        assert_memory_equal(d.rows, d.rows_again, d.tiling.rows * 8);
        assert_memory_equal(d.cols, d.cols_again, d.tiling.cols * 8);
      }
      release(&d);
    }
}

static void test_16_bit_types(void **state) {
  (void)state;
  for (size_t i = 0; i < SHAPES; i++)
    for (int t = 0; t < 2; t++) {
      const sb_dtype type = t ? SB_F16 : SB_BF16;
      data d = create(i);
      uint16_t *w16 = NULL;
      assert_ok(sb_alloc(&w16, d.n, 2, "w"));
      for (size_t e = 0; e < d.n; e++)
        if (fabsf(d.w[e]) > 60000.0f) d.w[e] = 1000.0f;
      sb_from_f32(w16, type, d.w, d.n);
      sb_to_f32(d.w, w16, type, d.n);
      scalar_quantize(d.now, d.w, &d.tiling, d.bits, SB_GRID_ASYMMETRIC);
      sums(&d, d.rows, d.cols, w16, type, false, SB_GRID_ASYMMETRIC);
      check(&d, false);
      sb_free(&w16);
      release(&d);
    }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_definition),
                                     cmocka_unit_test(test_16_bit_types)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
