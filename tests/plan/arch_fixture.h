/* The architecture that the tests of plan work on: Llama 3.1 8B, made before a group of tests and
 * freed after it. */
#ifndef SB_TESTS_PLAN_ARCH_FIXTURE_H
#define SB_TESTS_PLAN_ARCH_FIXTURE_H

#include "tests/support/config_json.h"

static sb_arch arch;

static inline int make_arch(void **state) {
  (void)state;
  llama31_arch("{}", &arch);
  return 0;
}

static inline int free_arch(void **state) {
  (void)state;
  sb_arch_free(&arch);
  return 0;
}

#endif
