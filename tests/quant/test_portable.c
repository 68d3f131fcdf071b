/* With and without AVX-512 intrinsics: the same bits. */
#include "blocks.h"

#include "kernels/blockrow.h"
#include "kernels/cpu/cpu.h"
#include "portable.h"

static void test_same_bits(void **state) {
  const sb_dtype types[3] = {SB_F32, SB_BF16, SB_F16};
  sb_backend *backend = NULL;
  (void)state;
  assert_ok(sb_backend_cpu_create(SB_COMPUTE_F32, 0, &backend));
  for (size_t shape = 0; shape < SHAPES; shape++)
    for (int s = 0; s < 6; s++) {
      const sb_symmetry symmetry = (sb_symmetry)(s % 2);
      const sb_dtype type = types[s / 2];
      const sb_grid_shape grid = shapes[shape];
      const size_t n = grid.rows * grid.cols, blocks = block_count(&grid),
                   columns = sb_grid_block_cols(&grid);
      float *w = NULL, *g = NULL, *a = NULL, *b = NULL;
      uint8_t *bits = NULL;
      void *typed = NULL;
      double *moves[4] = {NULL}, *sums[4] = {NULL};
      uint64_t seed = shape;
      assert_ok(sb_alloc(&w, n, 4, "w"));
      assert_ok(sb_alloc(&typed, n, 4, "w"));
      assert_ok(sb_alloc(&g, n, 4, "g"));
      assert_ok(sb_alloc(&a, n, 4, "a"));
      assert_ok(sb_alloc(&b, n, 4, "b"));
      assert_ok(sb_alloc(&bits, blocks, 1, "bits"));
      for (int i = 0; i < 4; i++) assert_ok(sb_alloc(&moves[i], blocks, 8, "moves"));
      for (int i = 0; i < 4; i++) assert_ok(sb_alloc(&sums[i], sb_max_size(grid.rows, grid.cols), 8, "sums"));
      fill_awkward(w, grid.rows, grid.cols, shape + 100);
      for (size_t i = 0; i < n; i++) g[i] = uniform(&seed);
      sb_from_f32(typed, type, w, n); /* fp16 overflows here and there: infinite weights too must agree */
      fill_bits(bits, blocks, 1, 8, shape);

      assert_ok(sb_cpu_quantize_blocks(backend, NULL, a, type, typed, type, &grid, bits, symmetry));
      assert_ok(portable_quantize_blocks(backend, NULL, b, type, typed, type, &grid, bits, symmetry));
      assert_memory_equal(a, b, n * 4);
      for (int now = 0; now < 2; now++) {
        assert_ok(sb_cpu_block_moves(backend, NULL, moves[0], moves[1], g, grid.cols, typed, type,
                                     now ? w : NULL, SB_F32, &grid, bits, 1, 8, symmetry));
        assert_ok(portable_block_moves(backend, NULL, moves[2], moves[3], g, grid.cols, typed, type,
                                       now ? w : NULL, SB_F32, &grid, bits, 1, 8, symmetry));
        assert_memory_equal(moves[0], moves[2], blocks * 8);
        assert_memory_equal(moves[1], moves[3], blocks * 8);
      }
      for (int absolute = 0; absolute < 2; absolute++) {
        assert_ok(sb_cpu_channel_scores(backend, NULL, sums[0], sums[1], g, grid.cols, typed, type, &grid,
                                        bits, absolute, symmetry));
        assert_ok(portable_channel_scores(backend, NULL, sums[2], sums[3], g, grid.cols, typed, type, &grid,
                                          bits, absolute, symmetry));
        assert_memory_equal(sums[0], sums[2], grid.rows * 8);
        assert_memory_equal(sums[1], sums[3], grid.cols * 8);
      }
      for (size_t i = 0; i < sb_grid_block_rows(&grid); i++) {
        const size_t bytes = sb_blockrow_bytes(&grid, i, bits + i * columns, symmetry), zero = 0;
        const char *rows = (const char *)typed + i * grid.block_rows * grid.cols * sb_dtype_size(type);
        const sb_grid_shape one = {sb_grid_rows_of(&grid, i), grid.cols, grid.block_rows, grid.block_cols};
        uint8_t *packed = malloc(bytes), *again = malloc(bytes);
        assert_true(packed && again);
        sb_blockrow_encode(packed, rows, type, &grid, i, bits + i * columns, symmetry);
        portable_blockrow_encode(again, rows, type, &grid, i, bits + i * columns, symmetry);
        assert_memory_equal(packed, again, bytes);
        assert_ok(
            sb_cpu_unpack_blocks(backend, NULL, a, type, packed, &zero, &one, bits + i * columns, symmetry));
        assert_ok(portable_unpack_blocks(backend, NULL, b, type, packed, &zero, &one, bits + i * columns,
                                         symmetry));
        assert_memory_equal(a, b, n * 4);
        free(packed);
        free(again);
      }
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
