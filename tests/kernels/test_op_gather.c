#include "tests/kernels/check.h"

#include <stdlib.h>
#include <string.h>

/* Numbers below `bound`, in no order. */
static uint32_t *indices(size_t n, size_t bound, uint32_t step) {
  uint32_t *out = malloc((n + 1) * sizeof *out);
  for (size_t i = 0; i < n; i++) out[i] = (uint32_t)((i * step + 3) % bound);
  return out;
}

static void every_element(void **state) {
  sb_backend *be = *state;
  static const size_t shapes[][2] = {{1, 1}, {3, 17}, {64, 40}, {129, 300}};
  const sb_dtype types[] = {SB_F32, SB_F16, SB_BF16};
  for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
    for (int how = 0; how < 12; how++) {
      const size_t rows = shapes[s][0], cols = shapes[s][1], size = sb_dtype_size(types[how / 4]);
      uint32_t *row = how & 1 ? indices(rows, rows, 7) : NULL,
               *col = how & 2 ? indices(cols, cols, 11) : NULL;
      char *src = (char *)check_random(rows * cols, 1.0f, 5 + s),
           *got = (char *)check_zeros(rows * cols);
      assert_ok(be->op->gather_matrix(be, NULL, got, src, types[how / 4], rows, cols, row, col));
      for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < cols; j++)
          assert_memory_equal(got + (i * cols + j) * size,
                              src + ((row ? row[i] : i) * cols + (col ? col[j] : j)) * size, size);
      check_done();
      free(row);
      free(col);
    }
}

static void refuses_other_types(void **state) {
  sb_backend *be = *state;
  float x = 0.0f, y = 0.0f;
  assert_int_equal(be->op->gather_matrix(be, NULL, &y, &x, SB_I8, 1, 1, NULL, NULL),
                   SB_ERR_INTERNAL);
  assert_non_null(strstr(sb_message(), "I8"));
}

static int setup(void **state) {
  *state = check_backend(SB_COMPUTE_F32);
  return 0;
}

static int teardown(void **state) {
  sb_backend *be = *state;
  be->op->destroy(be);
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(every_element),
                                     cmocka_unit_test(refuses_other_types)};
  return cmocka_run_group_tests(tests, setup, teardown);
}
