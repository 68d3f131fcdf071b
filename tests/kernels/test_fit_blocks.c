/* Fitted grids: the choice against its definition in plain loops, and what it is worth. */
#include "tests/kernels/blocks.h"
#include "tests/support/grid_kinds.h"
#include "kernels/blockrow.h"

/* The range as scalar_grid has it, shrunk. */
static sb_grid shrunk_grid(const float *w, size_t n, unsigned bits, sb_code_kind code_kind,
                           int fit) {
  sb_group_range range = {0};
  for (size_t i = 0; i < n; i++) {
    if (w[i] < range.low) range.low = w[i];
    if (w[i] > range.high) range.high = w[i];
  }
  return sb_grid_fitted(&range, bits, code_kind, (unsigned)fit);
}

/* In the lanes and with the roundings of kernels/shared/grid.h. */
static float error_at(const float *w, const float *importance, size_t n, unsigned bits,
                      sb_code_kind code_kind, int fit) {
  const sb_grid grid = shrunk_grid(w, n, bits, code_kind, fit);
  float lane[16] = {0};
  for (size_t i = 0; i < n; i++) {
    const float e = sb_grid_value(&grid, sb_grid_code(&grid, w[i])) - w[i];
    const float weighted = e * importance[i];
    lane[i % 16] = fmaf(weighted, e, lane[i % 16]);
  }
  for (int width = 8; width > 0; width /= 2)
    for (int i = 0; i < width; i++) lane[i] += lane[i + width];
  return lane[0];
}

static int naive_fit(const float *w, const float *importance, size_t n, unsigned bits,
                     sb_code_kind code_kind) {
  int looked_at[16], count = 0, best = 0;
  if (bits <= 1) return 0;
  for (int f = 0; f < SB_FITS; f += 4) looked_at[count++] = f;
  for (int distance = 3; distance >= 1; distance--) {
    float least = INFINITY;
    for (int i = 0; i < count; i++) {
      const float error = error_at(w, importance, n, bits, code_kind, looked_at[i]);
      if (error < least || (error == least && looked_at[i] < best))
        least = error, best = looked_at[i];
    }
    if (distance == 1) break;
    for (int side = -1; side <= 1; side += 2) {
      const int f = best + side * (distance - 1);
      if (f >= 0 && f < SB_FITS) looked_at[count++] = f;
    }
  }
  return best;
}

static void test_definition(void **state) {
  (void)state;
  sb_backend *backend = NULL;
  assert_ok(sb_backend_cpu_create(SB_COMPUTE_F32, 0, &backend));
  for (size_t shape = 0; shape < SHAPES; shape++)
    for (int s = 0; s < KIND_TURNS; s++) {
      const sb_tiling tiling = shapes[shape];
      const sb_code_kind code_kind = kind_of_turn(shape, s);
      const size_t n = tiling.rows * tiling.cols, columns = sb_tiling_block_cols(&tiling);
      float *w = NULL, *importance = NULL, *out = NULL;
      uint8_t *bits = NULL, *fits = NULL;
      uint64_t seed = shape;
      assert_ok(sb_alloc(&w, n, sizeof *w, "w"));
      assert_ok(sb_alloc(&out, n, sizeof *out, "out"));
      assert_ok(sb_alloc(&importance, tiling.cols, sizeof *importance, "importance"));
      assert_ok(sb_alloc(&bits, block_count(&tiling), 1, "bits"));
      assert_ok(sb_alloc(&fits, tiling.rows * columns, 1, "fits"));
      fill_awkward(w, tiling.rows, tiling.cols, shape);
      fill_bits(bits, block_count(&tiling), 0, 8, shape);
      for (size_t c = 0; c < tiling.cols; c++) importance[c] = c % 7 ? fabsf(uniform(&seed)) : 0.0f;
      memset(fits, 0xff, tiling.rows * columns);
      assert_ok(backend->op->fit_blocks(
          backend, NULL, fits,
          &(sb_block_weights){
              .w = w, .dtype = SB_F32, .tiling = &tiling, .bits = bits, .code_kind = code_kind},
          importance));
      for (size_t r = 0; r < tiling.rows; r++)
        for (size_t j = 0; j < columns; j++) {
          const size_t first = j * tiling.block_cols;
          const unsigned b = bits[r / tiling.block_rows * columns + j];
          const int expected = b == 0 ? 0
                                      : naive_fit(w + r * tiling.cols + first, importance + first,
                                                  sb_tiling_cols_of(&tiling, j), b, code_kind);
          assert_int_equal(fits[r * columns + j], expected);
        }
      assert_ok(backend->op->quantize_blocks(
          backend, NULL, out, SB_F32,
          &(sb_block_weights){
              .w = w, .dtype = SB_F32, .tiling = &tiling, .bits = bits, .code_kind = code_kind},
          fits));
      for (size_t r = 0; r < tiling.rows; r++)
        for (size_t c = 0; c < tiling.cols; c++) {
          const size_t j = c / tiling.block_cols, first = j * tiling.block_cols;
          const unsigned b = bits[r / tiling.block_rows * columns + j];
          if (b < 2) continue; /* other means: test_quantize.c */
          const sb_grid grid =
              shrunk_grid(w + r * tiling.cols + first, sb_tiling_cols_of(&tiling, j), b, code_kind,
                          fits[r * columns + j]);
          assert_true(out[r * tiling.cols + c] ==
                      sb_grid_value(&grid, sb_grid_code(&grid, w[r * tiling.cols + c])));
        }
      sb_free(&w);
      sb_free(&out);
      sb_free(&importance);
      sb_free(&bits);
      sb_free(&fits);
    }
  backend->op->destroy(backend);
}

/* A normal-like group of 128 at 2 bits: the best uniform grid of a normal distribution reaches
 * 0.1188 of the variance (Max 1960), ranges as they are about 0.25; fitted, with a zero point and
 * few samples, it must come near the former. */
static void test_worth(void **state) {
  (void)state;
  enum { ROWS = 200, COLS = 128 };
  const sb_tiling tiling = {ROWS, COLS, ROWS, COLS};
  static float w[ROWS * COLS], out[ROWS * COLS], importance[COLS];
  uint8_t fits[ROWS], bits = 2;
  double error[2] = {0}, power = 0;
  uint64_t seed = 5;
  sb_backend *backend = NULL;
  assert_ok(sb_backend_cpu_create(SB_COMPUTE_F32, 0, &backend));
  for (size_t i = 0; i < ROWS * COLS; i++) {
    w[i] = 0;
    for (int k = 0; k < 12; k++) w[i] += uniform(&seed);
    power += (double)w[i] * w[i];
  }
  for (size_t c = 0; c < COLS; c++) importance[c] = 1;
  assert_ok(backend->op->fit_blocks(backend, NULL, fits,
                                    &(sb_block_weights){.w = w,
                                                        .dtype = SB_F32,
                                                        .tiling = &tiling,
                                                        .bits = &bits,
                                                        .code_kind = SB_GRID_ASYMMETRIC},
                                    importance));
  for (int fitted = 0; fitted < 2; fitted++) {
    assert_ok(backend->op->quantize_blocks(backend, NULL, out, SB_F32,
                                           &(sb_block_weights){.w = w,
                                                               .dtype = SB_F32,
                                                               .tiling = &tiling,
                                                               .bits = &bits,
                                                               .code_kind = SB_GRID_ASYMMETRIC},
                                           fitted ? fits : NULL));
    for (size_t i = 0; i < ROWS * COLS; i++)
      error[fitted] += ((double)out[i] - w[i]) * ((double)out[i] - w[i]);
  }
  assert_true(error[1] < 0.14 * power);
  assert_true(error[0] > 0.18 * power);
  backend->op->destroy(backend);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_definition),
                                     cmocka_unit_test(test_worth)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
