/* Words of 32 bits against their description, bit by bit. */
#include "folders/int32_words.h"

#include <stdlib.h>
#include <string.h>

#include "tests/support/assertions.h"

enum { MOST = 96 };

/* Bit `at` of a string of words. */
static unsigned bit(const uint32_t *words, size_t at) {
  return words[at / 32] >> at % 32 & 1u;
}

static void fill(uint8_t *numbers, size_t count, unsigned bits, unsigned seed) {
  for (size_t i = 0; i < count; i++)
    numbers[i] = (uint8_t)((i * 2654435761u + seed * 40503u) >> 7 & ((1u << bits) - 1u));
}

static void dense(void **state) {
  (void)state;
  for (unsigned bits = 1; bits <= 8; bits++)
    for (size_t count = 1; count <= MOST; count++) {
      uint8_t numbers[MOST];
      const size_t words = sb_words(count, bits);
      uint32_t *out = malloc(words * sizeof *out); /* of exactly the size, for the sanitizer */
      memset(out, 0xff, words * sizeof *out);
      fill(numbers, count, bits, (unsigned)count);
      sb_words_dense(out, numbers, count, bits);
      assert_int_equal(words, (count * bits + 31) / 32);
      for (size_t at = 0; at < 32 * words; at++)
        assert_int_equal(bit(out, at), at < count * bits ? numbers[at / bits] >> at % bits & 1 : 0);
      free(out);
    }
}

/* Part p of a width is at[p] words behind the run, w[p] bits wide. */
static void planes(void **state) {
  static const unsigned parts[9][3] = {[1] = {1},    [2] = {2},    [3] = {2, 1},    [4] = {4},
                                       [5] = {4, 1}, [6] = {4, 2}, [7] = {4, 2, 1}, [8] = {8}};
  (void)state;
  for (unsigned bits = 1; bits <= 8; bits++)
    for (size_t count = 32; count <= MOST; count += 32) {
      uint8_t numbers[MOST];
      uint32_t out[MOST * 8 / 32];
      fill(numbers, count, bits, bits);
      sb_words_planes(out, numbers, count, bits);
      for (size_t i = 0; i < count; i++) {
        unsigned low = 0, found = 0;
        for (int p = 0; p < 3 && parts[bits][p]; low += parts[bits][p++])
          for (unsigned k = 0; k < parts[bits][p]; k++)
            found |= bit(out + i / 32 * bits + low, i % 32 * parts[bits][p] + k) << (low + k);
        assert_int_equal(found, numbers[i]);
      }
    }
}

static void transposed(void **state) {
  enum { ROWS = 37, COLS = 50 };
  uint32_t in[ROWS * COLS], out[ROWS * COLS];
  (void)state;
  for (uint32_t i = 0; i < ROWS * COLS; i++) in[i] = i * 2654435761u;
  sb_words_transpose(out, in, ROWS, COLS);
  for (size_t r = 0; r < ROWS; r++)
    for (size_t c = 0; c < COLS; c++) assert_int_equal(out[c * ROWS + r], in[r * COLS + c]);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(dense), cmocka_unit_test(planes),
                                     cmocka_unit_test(transposed)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
