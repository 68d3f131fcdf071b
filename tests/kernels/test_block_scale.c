/* Scales of 6 bits against their description, said again in double precision. */
#include "kernels/shared/block_scale.h"

#include <math.h>

#include "kernels/shared/grid.h"
#include "tests/kernels/blocks.h"
#include "tests/kernels/scale_by_hand.h"

/* Every code of every anchor: its value, and that it is the code of its value. */
static void values(void **state) {
  (void)state;
  for (unsigned anchor = 0; anchor < 256; anchor++)
    for (unsigned code = 0; code < 64; code++) {
      const double value = (double)sb_scale6_value((uint8_t)anchor, code);
      assert_true(value == scale6_by_hand((uint8_t)anchor, code));
      assert_int_equal(sb_scale6_code((uint8_t)anchor, (float)value), code);
      assert_int_equal(sb_anchor_mantissa((uint8_t)anchor), anchor % 4 + 1);
    }
}

/* All positive fp16 numbers: the code is the nearest of the number's own power of two. */
static void nearest(void **state) {
  static const uint8_t anchors[] = {0, 1, 2, 3, 40, 41, 42, 43, 79, 100, 156, 159};
  (void)state;
  for (size_t a = 0; a < sizeof anchors; a++) {
    const uint8_t anchor = anchors[a];
    const double least = scale6_by_hand(anchor, 1), most = scale6_by_hand(anchor, 63);
    for (unsigned half = 1; half < 0x7c00; half++) {
      const double scale = (double)sb_grid_from_fp16((uint16_t)half);
      const double found = scale6_by_hand(anchor, sb_scale6_code(anchor, (float)scale));
      double best = scale <= least ? least : most;
      for (unsigned code = 1; code < 64 && scale > least && scale < most; code++) {
        const double value = scale6_by_hand(anchor, code);
        if (ilogb(value) == ilogb(scale) && fabs(value - scale) <= fabs(best - scale)) best = value;
      }
      if (found != best) fail_msg("anchor %u, %g: %g, expected %g", anchor, scale, found, best);
    }
  }
}

/* An anchor for scales between any two fp16 numbers: within four powers of two 5 significant bits
 * stay, within 8, 16 and 32 a bit less each, and an anchor of what was rounded is the same. */
static void anchors(void **state) {
  (void)state;
  for (unsigned low = 1; low < 0x7c00; low += 37)
    for (unsigned high = low; high < 0x7c00; high += 1 + (high - low) / 3) {
      const float least = sb_grid_from_fp16((uint16_t)low),
                  most = sb_grid_from_fp16((uint16_t)high);
      const uint8_t anchor = sb_anchor_of(least, most);
      const int octaves = ilogb((double)most) - ilogb((double)least) + 1,
                mantissa = octaves <= 4    ? 4
                           : octaves <= 8  ? 3
                           : octaves <= 16 ? 2
                                           : 1;
      assert_int_equal(sb_anchor_mantissa(anchor), mantissa);
      float ends[2] = {least, most};
      for (int i = 0; i < 2; i++) {
        const double kept = scale6_by_hand(anchor, sb_scale6_code(anchor, ends[i]));
        if (octaves <= 32)
          assert_true(fabs(kept - (double)ends[i]) <= ldexp((double)ends[i], -mantissa));
        if (octaves <= 32) assert_int_equal(ilogb(kept), ilogb((double)ends[i]));
        ends[i] = (float)kept;
      }
      assert_int_equal(sb_anchor_of(ends[0], ends[1]), anchor);
    }
  assert_int_equal(sb_anchor_of(INFINITY, 0), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(values), cmocka_unit_test(nearest),
                                     cmocka_unit_test(anchors)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
