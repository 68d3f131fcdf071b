#include "tests/kernels/check.h"

sb_backend *check_backend(sb_compute compute) {
  sb_backend *backend = NULL;
  if (sb_backend_cpu_create(compute, 0, &backend) != SB_OK) fail_msg("%s", sb_message());
  return backend;
}
