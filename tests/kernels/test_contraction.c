/* Compilers may fuse a product with the sum it goes into, and each decides that in its own way. The
 * numbers that host and device share must not depend on it. */
#include "tests/kernels/contraction.h"

#include "base/memory.h"
#include "tests/support/assertions.h"

static void test_same_bits(void **state) {
  uint32_t *fused, *separate;
  (void)state;
  assert_ok(sb_alloc(&fused, CONTRACTION_NUMBERS, sizeof *fused, "fused"));
  assert_ok(sb_alloc(&separate, CONTRACTION_NUMBERS, sizeof *separate, "separate"));
  contraction_fused(fused);
  contraction_separate(separate);
  for (size_t i = 0; i < CONTRACTION_NUMBERS; i++)
    if (fused[i] != separate[i])
      fail_msg("number %zu: %08x fused, %08x separate", i, fused[i], separate[i]);
  sb_free(&fused);
  sb_free(&separate);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_same_bits)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
