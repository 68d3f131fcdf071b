/* A device that is not there skips a test or a benchmark; one that is there and fails does not. */
#ifndef SB_TESTS_GPU_MISSING_H
#define SB_TESTS_GPU_MISSING_H

#include <stdio.h>

#include "base/status.h"

/* What main is to return for the status of opening a device: 0, 77 ("skipped" for ctest), or 1. */
static inline int gpu_missing(sb_status status) {
  if (status == SB_OK) return 0;
  printf("%s: %s\n", status == SB_ERR_ABSENT ? "skipped" : "failed", sb_message());
  return status == SB_ERR_ABSENT ? 77 : 1;
}

#endif
