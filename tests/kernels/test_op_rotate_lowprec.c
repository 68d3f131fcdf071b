/* Rotation without coding, which is what the rules with Hadamard code: coding what was rotated
 * gives the same bits as rotating and coding at once. */
#include "tests/kernels/check.h"

#include <math.h>

static const struct { size_t rows, cols; } shapes[] = {{3, 17}, {16, 16}, {33, 130}, {130, 257}};

static float *rounded(sb_backend *be, const sb_lowprec_rule *rule, const float *x, size_t s) {
  float *out = check_zeros(shapes[s].rows * shapes[s].cols);
  const sb_lowprec_args args = {.rule = *rule,
                                .rows = shapes[s].rows,
                                .cols = shapes[s].cols,
                                .src = x,
                                .src_dtype = SB_F32,
                                .dst = out,
                                .dst_dtype = SB_F32};
  assert_ok(be->op->round_lowprec(be, NULL, &args));
  assert_ok(be->op->sync(be, NULL));
  return out;
}

static void is_what_is_coded(void **state) {
  const sb_lowprec_options options = sb_lowprec_options_default();
  const sb_lowprec_rule both =
      sb_lowprec_rule_of(SB_PRECISION_NVFP4, SB_LOWPREC_X, SB_WGRAD, &options);
  const sb_lowprec_rule turn = {.element = SB_ELEMENT_NONE, .hadamard = true};
  sb_lowprec_rule code = both;
  code.hadamard = false;
  assert_true(both.hadamard);
  for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
    const size_t count = shapes[s].rows * shapes[s].cols;
    const float *x = check_random(count, 1.0f, s);
    const float *turned = rounded(*state, &turn, x, s);
    check_same("coded", rounded(*state, &code, turned, s), rounded(*state, &both, x, s), count);
    check_done();
  }
}

/* Rotations keep lengths: of each column over 16 rows, to some roundings of its sum. */
static void keeps_lengths(void **state) {
  const sb_lowprec_rule turn = {.element = SB_ELEMENT_NONE, .hadamard = true};
  const size_t cols = shapes[1].cols;
  const float *x = check_random(16 * cols, 1.0f, 9), *turned = rounded(*state, &turn, x, 1);
  size_t moved = 0;
  for (size_t c = 0; c < cols; c++) {
    double before = 0, after = 0;
    for (size_t r = 0; r < 16; r++) {
      before += (double)x[r * cols + c] * (double)x[r * cols + c];
      after += (double)turned[r * cols + c] * (double)turned[r * cols + c];
      moved += turned[r * cols + c] != x[r * cols + c];
    }
    assert_true(fabs(after - before) <= 1e-6 * before);
  }
  assert_true(moved > 15 * cols);
}

static int make(void **state) {
  *state = check_backend(SB_COMPUTE_F32);
  return 0;
}
static int destroy(void **state) {
  sb_backend *be = *state;
  be->op->destroy(be);
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(is_what_is_coded),
                                     cmocka_unit_test(keeps_lengths)};
  return cmocka_run_group_tests(tests, make, destroy);
}
