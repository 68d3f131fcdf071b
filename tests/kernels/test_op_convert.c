#include "tests/kernels/check.h"

#include <string.h>

/* Against base/dtype.h's scalar functions, for every pair of types and sizes around the
 * pieces of the loops. */
static void every_pair_of_types(void **state) {
  sb_backend *be = *state;
  const sb_dtype types[] = {SB_F32, SB_F16, SB_BF16};
  const size_t sizes[] = {0, 1, 17, 4096, 4097, 70001};
  for (size_t n = 0; n < sizeof sizes / sizeof *sizes; n++)
    for (int from = 0; from < 3; from++)
      for (int to = 0; to < 3; to++) {
        size_t count = sizes[n];
        float *x = check_random(count, 3.0f, 1), *src = check_zeros(count),
              *got = check_zeros(count);
        float *between = check_zeros(count), *want = check_zeros(count);
        sb_from_f32(src, types[from], x, count);
        sb_to_f32(between, src, types[from], count);
        sb_from_f32(want, types[to], between, count);
        assert_ok(be->op->convert(be, NULL, got, types[to], src, types[from], count));
        assert_memory_equal(got, want, count * sizeof(float));
        check_done();
      }
}

static void refuses_other_types(void **state) {
  sb_backend *be = *state;
  float x = 0.0f, y = 0.0f;
  assert_int_equal(be->op->convert(be, NULL, &y, SB_I8, &x, SB_F32, 1), SB_ERR_UNSUPPORTED);
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
  const struct CMUnitTest tests[] = {cmocka_unit_test(every_pair_of_types),
                                     cmocka_unit_test(refuses_other_types)};
  return cmocka_run_group_tests(tests, setup, teardown);
}
