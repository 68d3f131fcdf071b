/* With this processor's widest vectors, with AVX2's and without intrinsics: the same bits. */
#include "tests/kernels/blocks.h"

#include <math.h>

#include "kernels/blockrow.h"
#include "kernels/cpu/cpu.h"
#include "tests/kernels/portable.h"

/* To the bit, but for the sign and payload of NaN, which infinite weights make. */
static void same_numbers(const double *a, const double *b, size_t count) {
  for (size_t i = 0; i < count; i++)
    if (memcmp(a + i, b + i, sizeof *a) != 0 && !(isnan(a[i]) && isnan(b[i])))
      fail_msg("number %zu of %zu: %.17g and %.17g", i, count, a[i], b[i]);
}

/* The tables over all widths; g stands for second moments too. */
static void same_tables(sb_backend *backend, const void *w, sb_dtype type, const float *g,
                        const sb_tiling *tiling, sb_symmetry symmetry, const float *importance) {
  const size_t blocks = block_count(tiling), columns = sb_tiling_block_cols(tiling);
  const size_t square = tiling->block_cols * tiling->block_cols;
  sb_stored_grid *grids[2] = {NULL};
  double(*table[2])[SB_WIDTHS] = {NULL};
  float *grams = NULL;
  assert_ok(sb_alloc(&grams, columns * square, sizeof *grams, "grams"));
  for (size_t i = 0; i < columns * square; i++) grams[i] = g[i % (tiling->rows * tiling->cols)];
  for (int i = 0; i < 2; i++) {
    assert_ok(sb_alloc(&grids[i], tiling->rows * columns * SB_MAX_BITS, sizeof **grids, "grids"));
    assert_ok(sb_alloc(&table[i], blocks, sizeof **table, "table"));
  }
  assert_ok(
      sb_cpu_choose_grids(backend, NULL, grids[0], w, type, tiling, 1, 8, symmetry, importance));
  assert_ok(
      portable_choose_grids(backend, NULL, grids[1], w, type, tiling, 1, 8, symmetry, importance));
  assert_memory_equal(grids[0], grids[1], tiling->rows * columns * SB_MAX_BITS * sizeof **grids);
  assert_ok(sb_cpu_block_squares(backend, NULL, table[0], g, tiling->cols, w, type, grids[0],
                                 tiling, 1, 8));
  assert_ok(portable_block_squares(backend, NULL, table[1], g, tiling->cols, w, type, grids[1],
                                   tiling, 1, 8));
  same_numbers(&table[0][0][0], &table[1][0][0], blocks * SB_WIDTHS);
  assert_ok(sb_cpu_block_curvature(backend, NULL, table[0], grams, g, w, type, tiling, 0,
                                   sb_tiling_block_rows(tiling), 1, 8, symmetry, importance));
  assert_ok(portable_block_curvature(backend, NULL, table[1], grams, g, w, type, tiling, 0,
                                     sb_tiling_block_rows(tiling), 1, 8, symmetry, importance));
  same_numbers(&table[0][0][0], &table[1][0][0], blocks * SB_WIDTHS);
  sb_free(&grams);
  for (int i = 0; i < 2; i++) {
    sb_free(&grids[i]);
    sb_free(&table[i]);
  }
}

static void test_same_bits(void **state) {
  const sb_dtype types[3] = {SB_F32, SB_BF16, SB_F16};
  sb_backend *backend = NULL;
  (void)state;
  assert_ok(sb_backend_cpu_create(SB_COMPUTE_F32, 0, &backend));
  for (size_t shape = 0; shape < SHAPES; shape++)
    for (int s = 0; s < 6; s++) {
#ifdef __SANITIZE_ADDRESS__ /* slow there: a third of them, every symmetry and type among them */
      if ((shape + (size_t)s) % 3 != 0) continue;
#endif
      const sb_symmetry symmetry = (sb_symmetry)(s % 2);
      const sb_dtype type = types[s / 2];
      const sb_tiling tiling = shapes[shape];
      const size_t n = tiling.rows * tiling.cols, blocks = block_count(&tiling),
                   columns = sb_tiling_block_cols(&tiling);
      float *w = NULL, *g = NULL, *a = NULL, *b = NULL;
      uint8_t *bits = NULL;
      void *typed = NULL;
      double *moves[4] = {NULL}, *sums[4] = {NULL};
      uint64_t seed = shape;
      const size_t groups = tiling.rows * columns;
      uint8_t *fits[2] = {NULL}, *again_fits = NULL; /* of plain grids, of fitted ones */
      sb_stored_grid *grids = NULL, *again_grids = NULL;
      float *importance = NULL;
      assert_ok(sb_alloc(&fits[1], groups, 1, "fits"));
      assert_ok(sb_alloc(&grids, SB_MOVES * groups, sizeof *grids, "grids"));
      assert_ok(sb_alloc(&again_grids, SB_MOVES * groups, sizeof *grids, "grids"));
      assert_ok(sb_alloc(&again_fits, groups, 1, "fits"));
      assert_ok(sb_alloc(&importance, tiling.cols, sizeof *importance, "importance"));
      assert_ok(sb_alloc(&w, n, 4, "w"));
      assert_ok(sb_alloc(&typed, n, 4, "w"));
      assert_ok(sb_alloc(&g, n, 4, "g"));
      assert_ok(sb_alloc(&a, n, 4, "a"));
      assert_ok(sb_alloc(&b, n, 4, "b"));
      assert_ok(sb_alloc(&bits, blocks, 1, "bits"));
      for (int i = 0; i < 4; i++) assert_ok(sb_alloc(&moves[i], blocks, 8, "moves"));
      for (int i = 0; i < 4; i++)
        assert_ok(sb_alloc(&sums[i], sb_max_size(tiling.rows, tiling.cols), 8, "sums"));
      fill_awkward(w, tiling.rows, tiling.cols, shape + 100);
      for (size_t i = 0; i < n; i++) g[i] = uniform(&seed);
      sb_from_f32(typed, type, w,
                  n); /* fp16 overflows here and there: infinite weights too must agree */
      fill_bits(bits, blocks, 1, 8, shape);

      for (size_t i = 0; i < tiling.cols; i++) importance[i] = fabsf(uniform(&seed));
      assert_ok(sb_cpu_fit_blocks(backend, NULL, fits[1], typed, type, importance, &tiling, bits,
                                  symmetry));
      assert_ok(portable_fit_blocks(backend, NULL, again_fits, typed, type, importance, &tiling,
                                    bits, symmetry));
      assert_memory_equal(fits[1], again_fits, groups);
      assert_ok(sb_cpu_group_products(backend, NULL, a, g, tiling.cols, typed, type, &tiling));
      assert_ok(portable_group_products(backend, NULL, b, g, tiling.cols, typed, type, &tiling));
      for (size_t k = 0; k < groups; k++) assert_true(a[k] == b[k] || (isnan(a[k]) && isnan(b[k])));
      for (int f = 0; f < 2; f++) {
        const float *const fitted = f ? importance : NULL;
        for (int absolute = 0; absolute < 2; absolute++) {
          assert_ok(sb_cpu_channel_scores(backend, NULL, sums[0], sums[1], g, tiling.cols, typed,
                                          type, &tiling, bits, absolute, symmetry, fits[f]));
          assert_ok(portable_channel_scores(backend, NULL, sums[2], sums[3], g, tiling.cols, typed,
                                            type, &tiling, bits, absolute, symmetry, fits[f]));
          same_numbers(sums[0], sums[2], tiling.rows);
          same_numbers(sums[1], sums[3], tiling.cols);
        }
        assert_ok(sb_cpu_quantize_blocks(backend, NULL, a, type, typed, type, &tiling, bits,
                                         symmetry, fits[f]));
        assert_ok(portable_quantize_blocks(backend, NULL, b, type, typed, type, &tiling, bits,
                                           symmetry, fits[f]));
        assert_memory_equal(a, b, n * 4);
        assert_ok(sb_cpu_move_grids(backend, NULL, grids, typed, type, &tiling, bits, symmetry,
                                    fitted, fits[f]));
        assert_ok(portable_move_grids(backend, NULL, again_grids, typed, type, &tiling, bits,
                                      symmetry, fitted, fits[f]));
        assert_memory_equal(grids, again_grids, SB_MOVES * groups * sizeof *grids);
        for (int now = 0; now < 2; now++) {
          assert_ok(sb_cpu_block_moves(backend, NULL, moves[0], moves[1], g, tiling.cols, typed,
                                       type, now ? w : NULL, SB_F32, grids, &tiling, bits, 1, 8,
                                       symmetry));
          assert_ok(portable_block_moves(backend, NULL, moves[2], moves[3], g, tiling.cols, typed,
                                         type, now ? w : NULL, SB_F32, grids, &tiling, bits, 1, 8,
                                         symmetry));
          same_numbers(moves[0], moves[2], blocks);
          same_numbers(moves[1], moves[3], blocks);
        }
        same_tables(backend, typed, type, g, &tiling, symmetry, fitted);
        for (size_t i = 0; i < sb_tiling_block_rows(&tiling); i++) {
          const size_t bytes = sb_blockrow_bytes(&tiling, i, bits + i * columns, symmetry),
                       zero = 0;
          const char *rows =
              (const char *)typed + i * tiling.block_rows * tiling.cols * sb_dtype_size(type);
          const sb_tiling one = {sb_tiling_rows_of(&tiling, i), tiling.cols, tiling.block_rows,
                                 tiling.block_cols};
          uint8_t *packed = malloc(bytes), *again = malloc(bytes);
          assert_true(packed && again);
          sb_blockrow_encode(packed, rows, type, &tiling, i, bits + i * columns, symmetry, fitted);
          portable_blockrow_encode(again, rows, type, &tiling, i, bits + i * columns, symmetry,
                                   fitted);
          assert_memory_equal(packed, again, bytes);
          assert_ok(sb_cpu_unpack_blocks(backend, NULL, a, type, packed, &zero, &one,
                                         bits + i * columns, symmetry));
          assert_ok(portable_unpack_blocks(backend, NULL, b, type, packed, &zero, &one,
                                           bits + i * columns, symmetry));
          assert_memory_equal(a, b, n * 4);
          free(packed);
          free(again);
        }
      }
      sb_free(&fits[1]);
      sb_free(&grids);
      sb_free(&again_grids);
      sb_free(&again_fits);
      sb_free(&importance);
      sb_free(&w);
      sb_free(&typed);
      sb_free(&g);
      sb_free(&a);
      sb_free(&b);
      sb_free(&bits);
      for (int i = 0; i < 4; i++) sb_free(&moves[i]);
      for (int i = 0; i < 4; i++) sb_free(&sums[i]);
    }
  backend->op->destroy(backend);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_same_bits)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
