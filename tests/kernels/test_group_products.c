/* group_products against its definition, in double. */
#include "tests/kernels/blocks.h"

static void test_definition(void **state) {
  (void)state;
  sb_backend *backend;
  assert_ok(sb_backend_cpu_create(SB_COMPUTE_F32, 0, &backend));
  for (size_t i = 0; i < SHAPES; i++)
    for (int t = 0; t < 3; t++) {
      static const sb_dtype types[3] = {SB_F32, SB_F16, SB_BF16};
      const sb_tiling tiling = shapes[i];
      const size_t n = tiling.rows * tiling.cols, across = sb_tiling_block_cols(&tiling),
                   ldg = tiling.cols + i % 3, groups = tiling.rows * across;
      float *w = NULL, *g = NULL, *out = NULL, *again = NULL;
      void *typed = NULL;
      uint64_t seed = i;
      assert_ok(sb_alloc(&w, n, 4, "w"));
      assert_ok(sb_alloc(&typed, n, 4, "w"));
      assert_ok(sb_alloc(&g, tiling.rows * ldg, 4, "g"));
      assert_ok(sb_alloc(&out, groups, 4, "sums"));
      assert_ok(sb_alloc(&again, groups, 4, "sums"));
      for (size_t e = 0; e < n; e++) w[e] = uniform(&seed);
      for (size_t e = 0; e < tiling.rows * ldg; e++)
        g[e] = e % ldg < tiling.cols ? uniform(&seed) : NAN; /* not ours */
      sb_from_f32(typed, types[t], w, n);
      sb_to_f32(w, typed, types[t], n);
      omp_set_num_threads(1);
      assert_ok(backend->op->group_products(
          backend, NULL, out, g, ldg,
          &(sb_block_weights){.w = typed, .dtype = types[t], .tiling = &tiling}));
      for (size_t k = 0; k < groups; k++) {
        const size_t r = k / across, j = k % across, columns = sb_tiling_cols_of(&tiling, j);
        double sum = 0, magnitudes = 0;
        for (size_t c = j * tiling.block_cols; c < j * tiling.block_cols + columns; c++) {
          const double product = (double)g[r * ldg + c] * (double)w[r * tiling.cols + c];
          sum += product;
          magnitudes += fabs(product);
        }
        /* a lane adds up so many, rounded each time, and the result is rounded once more */
        assert_true(fabs((double)out[k] - sum) <=
                    ((double)columns / 16 + 2) * 0x1p-24 * magnitudes);
      }
      omp_set_num_threads(3);
      assert_ok(backend->op->group_products(
          backend, NULL, again, g, ldg,
          &(sb_block_weights){.w = typed, .dtype = types[t], .tiling = &tiling}));
      assert_memory_equal(out, again, groups * sizeof *out);
      sb_free(&w);
      sb_free(&typed);
      sb_free(&g);
      sb_free(&out);
      sb_free(&again);
    }
  backend->op->destroy(backend);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_definition)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
