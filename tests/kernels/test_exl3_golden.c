/* Tiles of EXL3 at every width, against what tools/make_trellis_golden.py made of their bytes from
 * the format alone (tests/golden/exl3.txt). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "kernels/alphabet_trellis.h"
#include "tests/support/assertions.h"

enum { SIDE = 16, WEIGHTS = SIDE * SIDE };

/* `count` hexadecimal numbers of `digits` digits, one after another. */
static void read_hex(FILE *file, unsigned *out, size_t count, int digits) {
  char text[5];
  for (size_t i = 0; i < count; i++) {
    assert_int_equal(fscanf(file, digits == 2 ? "%2s" : "%4s", text), 1);
    char *end;
    out[i] = (unsigned)strtoul(text, &end, 16);
    assert_true(end == text + digits);
  }
}

static void tiles(void **state) {
  (void)state;
  FILE *file = fopen(SB_SOURCE_DIR "/tests/golden/exl3.txt", "r");
  assert_non_null(file);
  unsigned seen = 0, width;
  while (fscanf(file, "%u", &width) == 1) {
    const sb_block_shape shape = {SIDE, SIDE, width, SB_TRELLIS_EXL3};
    unsigned number[WEIGHTS], bytes[32 * 8], place;
    uint8_t tile[32 * 8];
    float out[WEIGHTS];
    assert_in_range(width, 1, 8);
    read_hex(file, bytes, 32 * width, 2);
    read_hex(file, number, WEIGHTS, 4);
    for (size_t i = 0; i < 32 * width; i++) tile[i] = (uint8_t)bytes[i];
    assert_int_equal(sb_trellis_block_bytes(&shape), 32 * width);
    sb_trellis_block_decode(&shape, tile, 1.0f, out, SIDE);
    for (size_t s = 0; s < WEIGHTS; s++) { /* the place is 16 in + out; rows are out here */
      assert_int_equal(fscanf(file, "%u", &place), 1);
      assert_int_equal(sb_f32_to_f16(out[place % SIDE * SIDE + place / SIDE]), number[s]);
    }
    seen |= 1u << width;
  }
  assert_int_equal(seen, 0x1fe); /* all widths */
  fclose(file);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(tiles)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
