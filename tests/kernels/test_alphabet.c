/* The alphabet of a block: which bytes of a bit map name one, that parts are all bytes, and that
 * the numbers which are trained scale all values of a row. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/kernels/scale_by_hand.h"
#include "kernels/shared/bitstring.h"
#include "kernels/alphabet.h"
#include "kernels/shared/grid.h"

enum { ROWS = 13, COLS = 37, LD = 40 };

static void bytes_name_alphabets(void **state) {
  (void)state;
  for (unsigned byte = 0; byte < 256; byte++) {
    const sb_alphabet *a = sb_alphabet_of((uint8_t)byte);
    if (byte % 16 >= 1 && byte % 16 <= 8 && byte / 16 <= 4) {
      assert_ptr_equal(a, byte < 16 ? &sb_alphabet_grid : &sb_alphabet_trellis);
      assert_int_equal(sb_alphabet_width((uint8_t)byte), byte % 16);
    } else {
      assert_null(a);
    }
  }
  assert_int_equal(sb_alphabet_byte(3, SB_GRID_ASYMMETRIC), 3);
  for (int kind = 0; kind < SB_TRELLIS_12; kind++)
    assert_int_equal(sb_alphabet_byte(3, (sb_code_kind)kind), 3);
  assert_int_equal(sb_alphabet_byte(3, SB_TRELLIS_12), 0x13);
  assert_int_equal(sb_alphabet_byte(8, SB_TRELLIS_EXL3), 0x48);
}

/* Weights of one sign in the first rows, of both in the others. */
static void fill(float *w) {
  for (size_t k = 0; k < ROWS * LD; k++)
    w[k] = k / LD < 3 ? 0.25f + (float)(k % 11) / 16 : (float)(k * 7 % 23) / 16 - 0.6f;
}

static void double_half(uint8_t *at) {
  uint16_t half;
  memcpy(&half, at, sizeof half);
  half = sb_grid_to_fp16(2 * sb_grid_from_fp16(half));
  memcpy(at, &half, sizeof half);
}

/* In 6 bits a power of two is as many codes as there are mantissas. */
static void double_scale(uint8_t *at, size_t row, uint8_t anchor, sb_code_kind code_kind) {
  if (!is_6bit(code_kind)) {
    double_half(at);
    return;
  }
  const unsigned code = bits_at(at, row, 6) + (2u << anchor % 4);
  assert_true(code < 64);
  sb_bitstring_put(at, row, 6, code);
  assert_int_equal(bits_at(at, row, 6), code);
}

static void check(unsigned bits, sb_code_kind code_kind) {
  const sb_block_shape shape = {ROWS, COLS, bits, code_kind};
  const sb_alphabet *a = sb_alphabet_of((uint8_t)bits);
  float w[ROWS * LD], was[ROWS * LD], doubled[ROWS * LD];
  fill(w);
  const sb_block_source weights = {w, SB_F32, 0, LD, NULL};
  const size_t bytes = a->bytes(&shape);
  uint8_t *block = malloc(bytes + 1), *again = malloc(bytes + 1), codes[ROWS * LD];
  sb_grid grids[ROWS];
  assert_true(block && again);
  memset(block, 0xa5, bytes + 1);
  memset(again, 0x5a, bytes + 1);

  /* parts are all bytes, all bytes are written and none behind them; both ways to write agree */
  sb_block_part parts[SB_BLOCK_PARTS];
  size_t sum = 0;
  const size_t count = a->parts(&shape, parts);
  assert_true(count >= 1 && count <= SB_BLOCK_PARTS);
  for (size_t k = 0; k < count; k++) sum += parts[k].bytes;
  assert_int_equal(sum, bytes);
  assert_int_equal(parts[count - 1].bytes, a->code_bytes(&shape));
  const uint8_t anchor = a->encode(&shape, block, &weights);
  sb_alphabet_grid_choose(&shape, grids, codes, LD, &weights);
  assert_int_equal(a->pack(&shape, again, grids, codes, LD), anchor);
  assert_memory_equal(block, again, bytes);
  assert_int_equal(block[bytes], 0xa5);
  assert_int_equal(again[bytes], 0x5a);

  /* twice the numbers that scale a row: twice its values, exactly, and no other row changes */
  const size_t row = 5;
  size_t scale, base;
  a->decode(&shape, anchor, block, was, SB_F32, 0, LD);
  a->scale(&shape, row, &scale, &base);
  double_scale(block + scale, row, anchor, code_kind);
  if (base != SIZE_MAX) double_half(block + base);
  assert_int_equal(base != SIZE_MAX, bits == 1 && (code_kind == SB_GRID_ASYMMETRIC ||
                                                   code_kind == SB_GRID_ASYMMETRIC_BF16 ||
                                                   code_kind == SB_GRID_ASYMMETRIC_6BIT));
  a->decode(&shape, anchor, block, doubled, SB_F32, 0, LD);
  double largest = 0;
  for (size_t r = 0; r < ROWS; r++)
    for (size_t c = 0; c < COLS; c++) {
      const float before = was[r * LD + c], expected = r == row ? 2 * before : before;
      assert_true(doubled[r * LD + c] == expected);
      largest = fmax(largest, fabs((double)before));
    }
  assert_true(largest > 0.5);
  free(block);
  free(again);
}

static void grids(void **state) {
  (void)state;
  for (unsigned bits = SB_MIN_BITS; bits <= SB_MAX_BITS; bits++)
    for (int kind = 0; kind < SB_TRELLIS_12; kind++) check(bits, (sb_code_kind)kind);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(bytes_name_alphabets),
                                     cmocka_unit_test(grids)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
