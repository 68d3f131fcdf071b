#include "base/byte_size.h"

#include <string.h>

#include "base/text.h"
#include "tests/support/assertions.h"

static void reads(void **state) {
  (void)state;
  static const struct {
    const char *text;
    uint64_t bytes;
    const char *unit;
  } cases[] = {{"3.2GiB", 3435973837, "GiB"},      {"3.2GB", 3200000000, "GB"},
               {"71.7MiB", 75182899, "MiB"},       {"50 MB", 50000000, "MB"},
               {"1gib", UINT64_C(1) << 30, "GiB"}, {"0.000001MB", 1, "MB"},
               {"1e3MB", 1000000000, "MB"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    sb_byte_size size = {0};
    assert_true(sb_byte_size_read(cases[i].text, &size));
    assert_int_equal(size.bytes, cases[i].bytes);
    assert_string_equal(size.unit, cases[i].unit);
  }
}

static void refuses(void **state) {
  (void)state;
  static const char *const cases[] = {"",     "3.2",      "3.2G",   "GiB",     "-1GiB", "0MiB",
                                      " 1MB", "1  MB",    "1MB ",   "nanMiB",  "infGB", "1e30GiB",
                                      "1KiB", "0.1e-7MB", "3,2GiB", "3.2GiB2", "1MiBx"};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    sb_byte_size size = {7, "MB"};
    assert_false(sb_byte_size_read(cases[i], &size));
    assert_true(size.bytes == 7 && strcmp(size.unit, "MB") == 0);
  }
}

/* What is written is read as the same bytes; a limit is on the side that is allowed, within one of
 * its four digits. */
static void writes(void **state) {
  (void)state;
  static const char *const units[] = {"GiB", "GB", "MiB", "MB"};
  char text[SB_TEXT_SIZE];
  sb_byte_size read;
  assert_string_equal(sb_byte_size_text(text, sizeof text, 75182899, "MiB"), "71.7MiB");
  assert_string_equal(sb_byte_size_text(text, sizeof text, 3200000000, "GB"), "3.2GB");
  uint64_t bytes = 1;
  for (int i = 0; i < 2000; i++) {
    const char *unit = units[i % 4];
    bytes = (bytes * 6364136223846793005u + 1442695040888963407u) >> (14 + i % 40) | 1;
    sb_byte_size_text(text, sizeof text, bytes, unit);
    assert_true(sb_byte_size_read(text, &read) && read.bytes == bytes);
    if (bytes < 100000) continue;
    for (int least = 0; least < 2; least++) {
      sb_byte_size_limit(text, sizeof text, bytes, unit, least);
      assert_true(sb_byte_size_read(text, &read));
      assert_true(least ? read.bytes >= bytes : read.bytes <= bytes);
      assert_true((double)read.bytes > (double)bytes * 0.9989 &&
                  (double)read.bytes < (double)bytes * 1.0011);
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(reads), cmocka_unit_test(refuses),
                                     cmocka_unit_test(writes)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
