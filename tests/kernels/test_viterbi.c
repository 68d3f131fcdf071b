/* Codes of tiles (kernels/cpu/cpu_viterbi.h) against the best ring through a border, found in
 * double, and what a tile's codes and values promise. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"
#include "kernels/alphabet_trellis.h"
#include "kernels/cpu/cpu_level.h"
#include "kernels/cpu/cpu_viterbi.h"
#include "kernels/cpu/cpu_viterbi_kernels.h"
#include "tests/support/assertions.h"

enum { STEPS = 256, MOST_GROUPS = 2048 };
#ifdef __SANITIZE_ADDRESS__ /* the search in double takes minutes there */
enum { TILE_STEP = 3, BORDERS = 2, ALL_BORDERS = 2 };
#else
enum { TILE_STEP = 1, BORDERS = 32, ALL_BORDERS = 128 };
#endif

/* A number of a normal distribution of deviation 1. */
static double normal(uint64_t seed, uint64_t i) {
  const double u = ldexp((double)(sb_mix64_with(seed, 2 * i) >> 11) + 0.5, -53),
               v = ldexp((double)(sb_mix64_with(seed, 2 * i + 1) >> 11) + 0.5, -53);
  return sqrt(-2 * log(u)) * cos(2 * acos(-1) * v);
}

static double squared_error(const float *target, const float *value, const bool *absent) {
  double sum = 0;
  for (size_t s = 0; s < STEPS; s++)
    if (!absent || !absent[s]) sum += pow((double)target[s] - (double)value[s], 2);
  return sum;
}

/* The least squared error of a walk that crosses the border in group `border`. */
static double best_from(const sb_trellis *t, double scale, const float *target, const bool *absent,
                        size_t border) {
  const size_t groups = (size_t)1 << (t->state_bits - t->width), codes = (size_t)1 << t->width;
  static double number[4096], error[4096], now[MOST_GROUPS], next[MOST_GROUPS];
  for (size_t state = 0; state < groups * codes; state++)
    number[state] = scale * (double)sb_trellis_number(t, sb_trellis_level(t, (uint32_t)state));
  for (size_t g = 0; g < groups; g++) now[g] = g == border ? 0 : INFINITY;
  for (size_t s = 0; s < STEPS; s++) {
    const bool any = absent && absent[s]; /* its code is 0, its value does not matter */
    for (size_t i = 0; i < groups * codes; i++)
      error[i] = any ? 0 : ((double)target[s] - number[i]) * ((double)target[s] - number[i]);
    for (size_t g = 0; g < groups; g++) {
      next[g] = INFINITY;
      for (size_t o = 0; o < (any ? 1 : codes); o++) {
        const size_t state = g * codes + o;
        next[g] = fmin(next[g], now[state % groups] + error[state]);
      }
    }
    memcpy(now, next, groups * sizeof *now);
  }
  return now[border];
}

/* The second pass finds the best ring through its border, but for the coarseness of costs: 0.2%,
 * and for codes above 4 bits, where differences saturate early, 2%. The first one finds the best
 * border of all, or one that is little worse: 3%, and 1% in a few. With padding, walks have few
 * levels to choose among, so that differences saturate. All borders are tried for wide codes, 32 of
 * them for narrow ones. */
static void best_rings(void **unused) {
  (void)unused;
  for (unsigned width = 1; width <= 8; width++) {
    const sb_trellis t = sb_trellis_of(SB_TRELLIS_12, width);
    const size_t groups = (size_t)1 << (12 - width);
    const float scale = 1 / sb_trellis_unit(&t);
    sb_viterbi *v = NULL;
    double sum = 0, best_sum = 0;
    assert_ok(sb_viterbi_create(&t, &v));
    for (uint64_t tile = 0; tile < 4; tile += TILE_STEP) {
      float target[STEPS], value[STEPS];
      uint8_t code[STEPS];
      bool absent[STEPS];
      for (size_t s = 0; s < STEPS; s++) {
        target[s] = (float)normal(8 * width + tile, s);
        absent[s] = tile == 3 && s % 64 > 40;
      }
      sb_viterbi_tile(v, scale, target, absent, code, value);
      const size_t border = sb_trellis_state_of_codes(&t, code, 0) % groups;
      const double error = squared_error(target, value, absent),
                   same = best_from(&t, (double)scale, target, absent, border);
      double best = same;
      for (size_t g = 0; g < groups; g += groups <= ALL_BORDERS ? 1 : groups / BORDERS)
        best = fmin(best, best_from(&t, (double)scale, target, absent, g));
      for (size_t s = 0; s < STEPS; s++)
        assert_true(code[s] >> width == 0 && (!absent[s] || code[s] == 0));
      assert_true(error >= same * (1 - 1e-6));
      if (tile == 3) continue;
      assert_true(error <= same * (width <= 4 ? 1.002 : 1.02) && error <= best * 1.03);
      sum += error;
      best_sum += best;
    }
    assert_true(sum <= best_sum * 1.01);
    sb_viterbi_destroy(&v);
  }
}

/* All kernels choose the same codes, for all widths, with padding and targets of any size. */
static void same_codes(void **unused) {
  static const sb_code_kind kinds[] = {SB_TRELLIS_12, SB_TRELLIS_14, SB_TRELLIS_EXL3};
  const sb_viterbi_kernels *best = sb_viterbi_kernels_best();
  (void)unused;
  for (size_t k = 0; k < 3; k++)
    for (unsigned width = 1; width <= 8; width++) {
      const sb_trellis t = sb_trellis_of(kinds[k], width);
      const sb_viterbi_kernels *all[] = {&sb_viterbi_plain, &sb_viterbi_avx2, best};
      uint8_t code[3][STEPS];
      if (k > 0 && width % 3 != 1) continue; /* these take long in plain C */
      for (size_t i = 0; i < 3; i++) {
        sb_viterbi *v = NULL;
        float target[STEPS];
        bool absent[STEPS];
        if (i == 1 && !sb_cpu_runs(SB_CPU_AVX2)) continue;
        for (size_t s = 0; s < STEPS; s++) {
          target[s] = (float)(normal(width, s) * (s % 50 == 0 ? 9 : s < 60 ? 0.3 : 1));
          absent[s] = width % 2 == 0 && s / 16 == 9;
        }
        assert_ok(sb_viterbi_create_with(&t, all[i], &v));
        sb_viterbi_tile(v, 1 / sb_trellis_unit(&t), target, absent, code[i], NULL);
        sb_viterbi_destroy(&v);
        assert_memory_equal(code[i], code[0], STEPS);
      }
    }
}

/* A panel of ragged sides: bytes made of its codes decode to its values. */
static void check_panel(sb_code_kind kind, unsigned width, size_t rows, size_t cols) {
  enum { LD = 24 };
  const sb_trellis t = sb_trellis_of(kind, width);
  const sb_block_shape shape = {rows, cols, width, kind};
  const float scale = 0.5f / sb_trellis_unit(&t);
  const size_t n = rows * LD;
  float *w = malloc(n * sizeof *w), *value = malloc(n * sizeof *w), *out = malloc(n * sizeof *w);
  uint8_t *codes = malloc(n), *packed = malloc(sb_trellis_block_bytes(&shape));
  sb_viterbi *v = NULL;
  double error = 0;
  assert_true(w && value && out && codes && packed);
  assert_ok(sb_viterbi_create(&t, &v));
  for (size_t i = 0; i < n; i++) w[i] = (float)(0.5 * normal(width, i));
  for (size_t i = 0; i < n; i++) out[i] = value[i] = -7;
  sb_viterbi_panel(v, scale, rows, cols, w, LD, codes, LD, value, LD);
  sb_trellis_block_pack(&shape, packed, codes, LD);
  sb_trellis_block_decode(&shape, packed, scale, out, LD);
  assert_memory_equal(value, out, n * sizeof *out);
  for (size_t i = 0; i < n; i++)
    if (i % LD < cols) error += pow((double)w[i] - (double)value[i], 2);
  /* a code of K bits is good for 5 to 6 dB a bit; padding and borders cost some of it */
  assert_true(error / (double)(rows * cols) < 0.25 * 1.9 * pow(0.25, width));
  sb_viterbi_destroy(&v);
  free(w);
  free(value);
  free(out);
  free(codes);
  free(packed);
}

static void panels(void **unused) {
  (void)unused;
  for (unsigned width = 1; width <= 4; width++) {
    check_panel(SB_TRELLIS_12, width, 64, 8);
    check_panel(SB_TRELLIS_12, width, 70, 18);
  }
  check_panel(SB_TRELLIS_14, 2, 33, 5);
  check_panel(SB_TRELLIS_16, 2, 64, 4);
  check_panel(SB_TRELLIS_EXL3, 3, 16, 16);
}

/* Targets far outside, zeros, and a scale that none fits give codes too. */
static void awkward(void **unused) {
  const sb_trellis t = sb_trellis_of(SB_TRELLIS_12, 2);
  sb_viterbi *v = NULL;
  float target[STEPS], value[STEPS];
  uint8_t code[STEPS];
  (void)unused;
  assert_ok(sb_viterbi_create(&t, &v));
  for (int k = 0; k < 4; k++) {
    for (size_t s = 0; s < STEPS; s++)
      target[s] = k == 0 ? 0.0f : (float)normal((uint64_t)k, s) * (k == 1 ? 1e30f : 1.0f);
    const float scale = k == 2 ? 0x1p-24f : k == 3 ? 65504.0f : 0.01f;
    sb_viterbi_tile(v, scale, target, NULL, code, value);
    for (size_t s = 0; s < STEPS; s++) assert_true(code[s] < 4 && isfinite(value[s]));
  }
  sb_viterbi_destroy(&v);
  assert_null(v);
  sb_viterbi_destroy(&v);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(best_rings), cmocka_unit_test(same_codes),
                                     cmocka_unit_test(panels), cmocka_unit_test(awkward)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
