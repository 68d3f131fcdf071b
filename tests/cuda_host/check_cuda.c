#include "kernels/cuda/cuda_device.h"
#include "tests/cuda_host/cuda_host.h"
#include "tests/kernels/check.h"

sb_backend *check_backend(sb_compute compute) {
  sb_backend *backend = NULL;
  sb_cuda_host_device.eager = 1; /* these tests look at once, and hand over host memory */
  if (sb_cuda_create(compute, 0, "a test", &backend) != SB_OK) fail_msg("%s", sb_message());
  return backend;
}
