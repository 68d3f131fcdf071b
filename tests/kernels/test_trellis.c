/* Trellis codes as bytes and numbers (kernels/shared/trellis.h): states against a reading bit by
 * bit, EXL3's order, bits and numbers against those of its own source (exllamav3 v1.4.1), and
 * blocks of any sides. */
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
#include "kernels/shared/trellis.h"
#include "tests/support/assertions.h"

static const sb_code_kind kinds[] = {SB_TRELLIS_12, SB_TRELLIS_14, SB_TRELLIS_16, SB_TRELLIS_EXL3};
enum { KINDS = sizeof kinds / sizeof *kinds };

static void random_codes(uint8_t *code, size_t n, unsigned width, uint64_t seed) {
  for (size_t i = 0; i < n; i++) code[i] = (uint8_t)(sb_mix64_with(seed, i) & ((1u << width) - 1));
}

/* Bit b of the ring of a tile, counted from the first bit of code 0. */
static unsigned ring_bit(const sb_trellis *t, const uint8_t *tile, unsigned b) {
  if (!t->exl3) return tile[b / 8] >> b % 8 & 1u;
  uint32_t word;
  memcpy(&word, tile + b / 32 * 4, sizeof word);
  return word >> (31 - b % 32) & 1u;
}

static uint32_t slow_state(const sb_trellis *t, const uint8_t *tile, unsigned s) {
  const unsigned bits = 256 * t->width;
  uint32_t state = 0;
  for (unsigned i = 0; i < t->state_bits; i++)
    if (t->exl3) /* bits (s + 1) K - 16 ... of the ring, the earliest is the most significant */
      state = state << 1 | ring_bit(t, tile, ((s + 1) * t->width + bits - 16 + i) % bits);
    else /* bits s K ... of the ring, the earliest is the least significant */
      state |= ring_bit(t, tile, (s * t->width + i) % bits) << i;
  return state;
}

static void states(void **unused) {
  (void)unused;
  for (size_t k = 0; k < KINDS; k++)
    for (unsigned width = 1; width <= 8; width++) {
      const sb_trellis t = sb_trellis_of(kinds[k], width);
      uint8_t code[256], tile[257];
      random_codes(code, 256, width, 8 * k + width);
      tile[sb_trellis_tile_bytes(&t)] = 0xa5;
      sb_trellis_pack(&t, tile, code);
      assert_int_equal(tile[sb_trellis_tile_bytes(&t)], 0xa5);
      for (unsigned s = 0; s < 256; s++) {
        const uint32_t state = slow_state(&t, tile, s);
        assert_int_equal(sb_trellis_state(&t, tile, s), state);
        assert_int_equal(sb_trellis_state_of_codes(&t, code, s), state);
        assert_int_equal(state & ((1u << width) - 1), code[s]);
      }
    }
}

/* Levels of all states lie within +- top, and have the mean and the deviation that units say. */
static void levels(void **unused) {
  (void)unused;
  for (size_t k = 0; k < KINDS; k++)
    for (unsigned width = 1; width <= 8; width++) {
      const sb_trellis t = sb_trellis_of(kinds[k], width);
      const uint32_t count = 1u << t.state_bits;
      double sum = 0, squares = 0;
      for (uint32_t state = 0; state < count; state++) {
        const int level = sb_trellis_level(&t, state);
        const double number = (double)sb_trellis_number(&t, level);
        assert_in_range(level + sb_trellis_top(&t), 0, 2 * sb_trellis_top(&t));
        sum += number;
        squares += number * number;
      }
      const double unit = (double)sb_trellis_unit(&t);
      assert_true(fabs(sum / count) < 0.01 * unit);
      assert_true(fabs(sqrt(squares / count) / unit - 1) < 0.01);
    }
}

static void exl3_numbers(void **unused) {
  static const uint32_t state[] = {0, 1, 2, 0x1234, 0x8000, 0xffff};
  static const uint16_t golden[] = {0xc2e8, 0x3921, 0xb72d, 0xb89e, 0xbaf2, 0xb936};
  const sb_trellis t = sb_trellis_of(SB_TRELLIS_EXL3, 3);
  (void)unused;
  for (size_t i = 0; i < sizeof state / sizeof *state; i++)
    assert_int_equal(sb_grid_to_fp16(sb_trellis_number(&t, sb_trellis_level(&t, state[i]))),
                     golden[i]);
  for (int b = 0; b <= 1020; b++) { /* one rounding, by the compiler's own type */
    const double exact = (1024.0 + b) * (0x1.bb8p-8) - 10.3828125;
    assert_true((double)sb_trellis_number(&t, b - 510) == (double)(_Float16)exact);
  }
}

static void exl3_order(void **unused) {
  /* its rows (inputs) are columns here: row-major number 16 row + column of its tile */
  static const unsigned golden[] = {0,  16, 128, 144, 8,  24, 136, 152,
                                    32, 48, 160, 176, 40, 56, 168, 184};
  const sb_trellis t = sb_trellis_of(SB_TRELLIS_EXL3, 2);
  (void)unused;
  for (unsigned s = 0; s < sizeof golden / sizeof *golden; s++) {
    unsigned row, col;
    sb_trellis_place(&t, s, &row, &col);
    assert_int_equal(16 * col + row, golden[s]);
  }
}

/* Every place of a tile once. */
static void places(void **unused) {
  (void)unused;
  for (size_t k = 0; k < KINDS; k++) {
    const sb_trellis t = sb_trellis_of(kinds[k], 2);
    bool seen[256] = {false};
    for (unsigned s = 0; s < 256; s++) {
      unsigned row, col;
      sb_trellis_place(&t, s, &row, &col);
      assert_true(row < t.tile_rows && col < t.tile_cols);
      assert_false(seen[row * t.tile_cols + col]);
      seen[row * t.tile_cols + col] = true;
    }
  }
}

/* Packs a block of given codes and decodes it again, all by loops over elements. */
static void check_block(sb_code_kind kind, unsigned width, size_t rows, size_t cols) {
  enum { LD = 140 };
  const sb_trellis t = sb_trellis_of(kind, width);
  const sb_block_shape shape = {rows, cols, width, kind};
  const size_t bytes = sb_trellis_block_bytes(&shape), down = (rows - 1) / t.tile_rows + 1,
               across = (cols - 1) / t.tile_cols + 1;
  uint8_t *codes = malloc(rows * LD), *packed = malloc(bytes + 1);
  float *out = malloc(rows * LD * sizeof *out);
  assert_true(codes && packed && out);
  assert_int_equal(bytes, down * across * 32 * width);
  random_codes(codes, rows * LD, width, rows + width);
  for (size_t i = 0; i < rows * LD; i++) out[i] = -7;
  packed[bytes] = 0xa5;
  sb_trellis_block_pack(&shape, packed, codes, LD);
  assert_int_equal(packed[bytes], 0xa5);
  sb_trellis_block_decode(&shape, packed, 0.75f, out, LD);
  for (size_t k = 0; k < down * across; k++) {
    const uint8_t *tile = packed + k * 32 * width;
    for (unsigned s = 0; s < 256; s++) {
      unsigned row, col;
      sb_trellis_place(&t, s, &row, &col);
      const size_t r = k % down * t.tile_rows + row, c = k / down * t.tile_cols + col;
      const uint32_t state = slow_state(&t, tile, s), code = state & ((1u << width) - 1);
      if (r >= rows || c >= cols) {
        assert_int_equal(code, 0);
        continue;
      }
      assert_int_equal(code, codes[r * LD + c]);
      assert_true(out[r * LD + c] == 0.75f * sb_trellis_number(&t, sb_trellis_level(&t, state)));
    }
  }
  for (size_t i = 0; i < rows * LD; i++) assert_true(i % LD < cols || out[i] == -7);
  free(codes);
  free(packed);
  free(out);
}

static void blocks(void **unused) {
  (void)unused;
  for (size_t k = 0; k < KINDS; k++)
    for (unsigned width = 1; width <= 8; width++) {
      check_block(kinds[k], width, 128, 128);
      check_block(kinds[k], width, 65, 7);
      check_block(kinds[k], width, 1, 1);
    }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(states),       cmocka_unit_test(levels),
                                     cmocka_unit_test(exl3_numbers), cmocka_unit_test(exl3_order),
                                     cmocka_unit_test(places),       cmocka_unit_test(blocks)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
