/* The errors and scales that trellis codes are said to have (trellis_error.h, trellis_scale.h)
 * against numbers of a normal distribution. */
#include <math.h>

#include "base/memory.h"
#include "base/random.h"
#include "kernels/cpu/cpu_viterbi.h"
#include "kernels/shared/trellis_error.h"
#include "kernels/shared/trellis_scale.h"
#include "tests/support/assertions.h"

enum { TILE = SB_TRELLIS_TILE };

static double normal(uint64_t i) {
  const double u = ldexp((double)(sb_mix64_with(7, 2 * i) >> 11) + 0.5, -53),
               v = ldexp((double)(sb_mix64_with(7, 2 * i + 1) >> 11) + 0.5, -53);
  return sqrt(-2 * log(u)) * cos(2 * acos(-1) * v);
}

/* The mean squared error of so many tiles of unit deviation, under their gain plus `more`. */
static double measured(sb_code_kind kind, unsigned width, size_t tiles, double more) {
  const sb_trellis t = sb_trellis_of(kind, width);
  const float scale = (sb_trellis_gain(kind, width) + (float)more) / sb_trellis_unit(&t);
  sb_viterbi *v = NULL;
  double sum = 0;
  assert_ok(sb_viterbi_create(&t, &v));
  for (size_t k = 0; k < tiles; k++) {
    float target[TILE], value[TILE];
    uint8_t code[TILE];
    for (size_t i = 0; i < TILE; i++) target[i] = (float)normal(k * TILE + i);
    sb_viterbi_tile(v, scale, target, NULL, code, value);
    for (size_t i = 0; i < TILE; i++) sum += pow((double)target[i] - (double)value[i], 2);
  }
  sb_viterbi_destroy(&v);
  return sum / (double)(tiles * TILE);
}

/* 128 tiles: 32,768 numbers, whose errors have a mean good to 1%; that of wide codes depends on a
 * few numbers far out. */
static void errors(void **state) {
  (void)state;
  for (unsigned width = 1; width <= 8; width++) {
    const double table = sb_trellis_error(SB_TRELLIS_12, width),
                 found = measured(SB_TRELLIS_12, width, 128, 0),
                 tolerance = width <= 4   ? 0.03
                             : width == 5 ? 0.08
                                          : 0.3;
    if (!(fabs(found / table - 1) < tolerance))
      fail_msg("%u bits: error %.6g, said to be %.6g", width, found, table);
  }
}

/* What is to be reached, and by how far it is. */
static void goals(void **state) {
  static const double goal[] = {0.2795, 0.0729, 0.0196, 0.0053};
  (void)state;
  for (unsigned width = 1; width <= 4; width++)
    assert_true(sb_trellis_error(SB_TRELLIS_12, width) < 0.96 * goal[width - 1]);
}

/* Scales are the best: 0.1 beside them errors are no smaller. */
static void gains(void **state) {
  (void)state;
  for (unsigned width = 1; width <= 5; width++) {
    const double here = measured(SB_TRELLIS_12, width, 64, 0);
    assert_true(measured(SB_TRELLIS_12, width, 64, -0.1) > here);
    assert_true(measured(SB_TRELLIS_12, width, 64, 0.1) > here);
  }
}

/* Errors of the other kinds over those of 2^12 states, of the same few numbers. */
static void other_kinds(void **state) {
  (void)state;
  for (unsigned width = 1; width <= 4; width++)
    for (int kind = SB_TRELLIS_14; kind <= SB_TRELLIS_EXL3; kind++) {
      const size_t tiles = kind == SB_TRELLIS_14 ? 16 : width == 1 ? 4 : 12;
      const double table = sb_trellis_error((sb_code_kind)kind, width) /
                           sb_trellis_error(SB_TRELLIS_12, width),
                   found = measured((sb_code_kind)kind, width, tiles, 0) /
                           measured(SB_TRELLIS_12, width, tiles, 0);
      if (!(fabs(found / table - 1) < 0.08))
        fail_msg("kind %d, %u bits: %.3f of 2^12 states' error, said to be %.3f", kind, width,
                 found, table);
    }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(errors), cmocka_unit_test(goals),
                                     cmocka_unit_test(gains), cmocka_unit_test(other_kinds)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
