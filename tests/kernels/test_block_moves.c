/* block_moves against its definition: three quantized copies and dot products in double. */
#include "tests/kernels/blocks.h"
#include "tests/support/grid_kinds.h"

typedef struct data {
  sb_backend *backend;
  sb_tiling tiling;
  size_t n, ldg, blocks;
  float *w, *g, *now, *low, *high;
  uint8_t *bits, *shifted;
  double *raise, *cut, *raise_again, *cut_again;
  sb_stored_grid *grids;
} data;

static data create(size_t shape) {
  data d = {.tiling = shapes[shape],
            .n = shapes[shape].rows * shapes[shape].cols,
            .ldg = shapes[shape].cols + shape % 3};
  uint64_t seed = shape + 77;
  d.blocks = block_count(&d.tiling);
  assert_ok(sb_backend_cpu_create(SB_COMPUTE_F32, 0, &d.backend));
  assert_ok(sb_alloc(&d.w, d.n, 4, "w"));
  assert_ok(sb_alloc(&d.g, d.tiling.rows * d.ldg, 4, "g"));
  assert_ok(sb_alloc(&d.now, d.n, 4, "now"));
  assert_ok(sb_alloc(&d.low, d.n, 4, "low"));
  assert_ok(sb_alloc(&d.high, d.n, 4, "high"));
  assert_ok(sb_alloc(&d.bits, d.blocks, 1, "bits"));
  assert_ok(sb_alloc(&d.shifted, d.blocks, 1, "bits"));
  assert_ok(sb_alloc(&d.grids, SB_MOVES * d.tiling.rows * sb_tiling_block_cols(&d.tiling),
                     sizeof *d.grids, "grids"));
  assert_ok(sb_alloc(&d.raise, d.blocks, 8, "moves"));
  assert_ok(sb_alloc(&d.cut, d.blocks, 8, "moves"));
  assert_ok(sb_alloc(&d.raise_again, d.blocks, 8, "moves"));
  assert_ok(sb_alloc(&d.cut_again, d.blocks, 8, "moves"));
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
  sb_free(&d->low);
  sb_free(&d->high);
  sb_free(&d->bits);
  sb_free(&d->shifted);
  sb_free(&d->grids);
  sb_free(&d->raise);
  sb_free(&d->cut);
  sb_free(&d->raise_again);
  sb_free(&d->cut_again);
}

/* Q(w) with all bits moved by `by`, kept in 1 .. 8. */
static void quantized(data *d, float *out, int by, sb_code_kind code_kind) {
  for (size_t k = 0; k < d->blocks; k++) {
    const int b = d->bits[k] + by;
    d->shifted[k] = (uint8_t)(b < 1 ? 1 : b > 8 ? 8 : b);
  }
  scalar_quantize(out, d->w, &d->tiling, d->shifted, code_kind);
}

/* One block: <g, to - now>, and the same of magnitudes. */
static double dot(const data *d, size_t k, const float *to, double *magnitude) {
  const size_t columns = sb_tiling_block_cols(&d->tiling), i = k / columns, j = k % columns;
  double sum = 0;
  *magnitude = 0;
  for (size_t r = 0; r < sb_tiling_rows_of(&d->tiling, i); r++)
    for (size_t c = 0; c < sb_tiling_cols_of(&d->tiling, j); c++) {
      const size_t row = i * d->tiling.block_rows + r, col = j * d->tiling.block_cols + c,
                   at = row * d->tiling.cols + col;
      const double term = (double)d->g[row * d->ldg + col] * ((double)to[at] - (double)d->now[at]);
      sum += term;
      *magnitude += fabs(term);
    }
  return sum;
}

static void check(const data *d, unsigned min_bits, unsigned max_bits) {
  const double terms =
      (double)(sb_min_size(d->tiling.block_cols, d->tiling.cols) / 16 + 2); /* of one lane */
  for (size_t k = 0; k < d->blocks; k++) {
    double size;
    /* a float lane: `terms` roundings of 2^-24 each, of the sum so far, and
     * one of every difference */
    const double up = dot(d, k, d->high, &size);
    if (d->bits[k] + 1u > max_bits)
      assert_true(d->raise[k] == 0);
    else
      assert_true(fabs(d->raise[k] - up) <= terms * 0x1p-24 * size);
    const double down = dot(d, k, d->low, &size);
    if (d->bits[k] < min_bits + 1)
      assert_true(d->cut[k] == 0);
    else
      assert_true(fabs(d->cut[k] - down) <= terms * 0x1p-24 * size);
  }
}

static void moves(data *d, double *raise, double *cut, const void *w, sb_dtype w_dtype,
                  unsigned least, unsigned most, sb_code_kind code_kind) {
  const sb_block_weights m = {w, w_dtype, &d->tiling, d->bits, code_kind};
  assert_ok(d->backend->op->move_grids(d->backend, NULL, d->grids, &m, NULL, NULL));
  assert_ok(d->backend->op->block_moves(d->backend, NULL, raise, cut, d->g, d->ldg, &m, d->grids,
                                        least, most));
}

static void test_definition(void **state) {
  (void)state;
  for (size_t i = 0; i < SHAPES; i++)
    for (int s = 0; s < KIND_TURNS; s++) {
      const sb_code_kind code_kind = kind_of_turn(i, s);
      data d = create(i);
      quantized(&d, d.low, -1, code_kind);
      quantized(&d, d.now, 0, code_kind);
      quantized(&d, d.high, 1, code_kind);
      omp_set_num_threads(1);
      moves(&d, d.raise, d.cut, d.w, SB_F32, 1, 8, code_kind);
      check(&d, 1, 8);
      for (int threads = 2; threads <= 5; threads++) {
        omp_set_num_threads(threads);
        moves(&d, d.raise_again, d.cut_again, d.w, SB_F32, 1, 8, code_kind);
        assert_memory_equal(d.raise, d.raise_again, d.blocks * 8);
        assert_memory_equal(d.cut, d.cut_again, d.blocks * 8);
      }
      moves(&d, d.raise, d.cut, d.w, SB_F32, 2, 4, code_kind);
      check(&d, 2, 4);
      release(&d);
    }
}

static void test_16_bit_weights(void **state) {
  const sb_dtype types[2] = {SB_BF16, SB_F16};
  (void)state;
  for (size_t i = 0; i < SHAPES; i++) {
    data d = create(i);
    uint16_t *w16 = NULL;
    assert_ok(sb_alloc(&w16, d.n, 2, "w"));
    for (int t = 0; t < 2; t++) {
      for (size_t e = 0; e < d.n; e++)
        if (fabsf(d.w[e]) > 60000.0f) d.w[e] = 1000.0f;
      sb_from_f32(w16, types[t], d.w, d.n);
      sb_to_f32(d.w, w16, types[t], d.n);
      quantized(&d, d.low, -1, SB_GRID_ASYMMETRIC);
      quantized(&d, d.now, 0, SB_GRID_ASYMMETRIC);
      quantized(&d, d.high, 1, SB_GRID_ASYMMETRIC);
      moves(&d, d.raise, d.cut, w16, types[t], 1, 8, SB_GRID_ASYMMETRIC);
      check(&d, 1, 8);
    }
    sb_free(&w16);
    release(&d);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_definition),
      cmocka_unit_test(test_16_bit_weights),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
