#include "tests/kernels/blocks.h"

#include "kernels/shared/bitstring.h"

/* Bit k of the string. */
static unsigned bit(const uint8_t *string, size_t k) {
  return string[k / 8] >> k % 8 & 1u;
}

/* All widths and all lengths up to 40, in buffers of exactly their size
 * (for the address sanitizer). */
static void test_bit_by_bit(void **state) {
  (void)state;
  for (unsigned bits = 1; bits <= 8; bits++)
    for (size_t n = 0; n <= 40; n++) {
      const size_t bytes = sb_bitstring_bytes(n, bits);
      uint8_t *numbers = malloc(n + 1), *string = malloc(bytes + 1), *back = malloc(n + 1);
      assert_true(numbers && string && back);
      assert_int_equal(bytes, (n * bits + 7) / 8);
      for (size_t i = 0; i < n; i++)
        numbers[i] = (uint8_t)(mix(bits * 1000 + n * 50 + i) & ((1u << bits) - 1));
      string[bytes] = back[n] = 0x5a;
      sb_bitstring_pack(string, numbers, n, bits);
      for (size_t k = 0; k < 8 * bytes; k++)
        assert_int_equal(bit(string, k), k < n * bits ? numbers[k / bits] >> k % bits & 1u : 0u);
      sb_bitstring_unpack(back, string, n, bits);
      assert_memory_equal(back, numbers, n);
      assert_int_equal(string[bytes], 0x5a);
      assert_int_equal(back[n], 0x5a);
      free(numbers);
      free(string);
      free(back);
    }
}

/* A string ends where its memory ends: no word may reach beyond. */
static void test_exact_memory(void **state) {
  (void)state;
  for (unsigned bits = 1; bits <= 8; bits++)
    for (size_t n = 1; n <= 40; n++) {
      const size_t bytes = sb_bitstring_bytes(n, bits);
      uint8_t *numbers = calloc(n, 1), *string = malloc(bytes);
      assert_true(numbers && string);
      sb_bitstring_pack(string, numbers, n, bits);
      sb_bitstring_unpack(numbers, string, n, bits);
      for (size_t i = 0; i < n; i++) assert_int_equal(numbers[i], 0);
      free(numbers);
      free(string);
    }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_bit_by_bit),
      cmocka_unit_test(test_exact_memory),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
