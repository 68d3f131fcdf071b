/* How the vocabulary is cut, case by case. */
#include "model/chunks.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { MIB = 1 << 20 };

static void as_large_as_a_layer(void **state) {
  (void)state;
  /* 16 MiB of rows of 8 KiB are 2048 rows */
  assert_int_equal(sb_chunk_rows(100000, 8192, 16 * MIB, 128), 2048);
  /* whole units: 2048 is no multiple of 96 */
  assert_int_equal(sb_chunk_rows(100000, 8192, 16 * MIB, 96), 2016);
}

static void neither_tiny_nor_wide(void **state) {
  (void)state;
  /* a layer of 1 KiB: 4 MiB of rows of 1 KiB */
  assert_int_equal(sb_chunk_rows(100000, 1024, 1024, 128), 4096);
  assert_int_equal(sb_chunk_rows(100000, 1024, 1024 * MIB, 128), 8192);
  /* a unit at least, though its rows are more than a layer, or than 8192 */
  assert_int_equal(sb_chunk_rows(100000, 8 * MIB, MIB, 128), 128);
  assert_int_equal(sb_chunk_rows(100000, 1024, 1024 * MIB, 10000), 10000);
}

static void no_more_than_the_table(void **state) {
  (void)state;
  assert_int_equal(sb_chunk_rows(300, 1024, MIB, 128), 300);
  assert_int_equal(sb_chunk_rows(50, 8 * MIB, MIB, 128), 50);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(as_large_as_a_layer),
                                     cmocka_unit_test(neither_tiny_nor_wide),
                                     cmocka_unit_test(no_more_than_the_table)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
