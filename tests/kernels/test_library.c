/* Libraries are found where people have them, with all that they need. */
#include "kernels/library.h"

#include <stdlib.h>

#include "tests/support/assertions.h"

static const char *const folders[] = {"$SB_TEST_UNSET/lib", "/nowhere/*/lib",
                                      "$SB_TEST_FOLDER/*/lib", NULL};

static void test_missing(void **state) {
  void *library = &library;
  (void)state;
  unsetenv("SB_TEST_FOLDER");
  assert_int_equal(sb_library_open("libsb_test_outer.so", folders, &library), SB_ERR_UNSUPPORTED);
  assert_null(library);
  assert_says("libsb_test_outer.so");
  sb_library_close(&library); /* of nothing */
}

static void test_found_with_what_it_needs(void **state) {
  void *library;
  int (*outer)(void);
  char path[4096];
  (void)state;
  setenv("SB_TEST_FOLDER", SB_TEST_LIBRARIES, 1);
  assert_ok(sb_library_open("libsb_test_outer.so", folders, &library));
  *(void **)&outer = sb_library_symbol(library, "sb_test_outer");
  assert_non_null(outer);
  assert_int_equal(outer(), 42);
  assert_null(sb_library_symbol(library, "sb_test_other"));
  assert_non_null(strstr(sb_library_path(path, sizeof path, *(void **)&outer),
                         "outer/lib/libsb_test_outer.so"));
  sb_library_close(&library);
  assert_null(library);
  assert_int_equal(outer(), 42); /* it stays */
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_missing),
                                     cmocka_unit_test(test_found_with_what_it_needs)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
