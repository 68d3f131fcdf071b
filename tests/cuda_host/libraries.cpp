/* The libraries that the stand-in pretends to have. */
#include <stdio.h>

#include "kernels/cuda/cuda_libraries.h"
#include "tests/cuda_host/cuda_host.h"

void sb_cuda_libraries_report(sb_library_report out[SB_REPORT_LIBRARIES]) {
  static const char *const names[SB_REPORT_LIBRARIES] = {"cuBLAS", "cuSOLVER", "NCCL"};
  const int there[SB_REPORT_LIBRARIES] = {sb_cuda_host_device.blas, sb_cuda_host_device.solver, 1};
  for (int i = 0; i < SB_REPORT_LIBRARIES; i++) {
    out[i].name = names[i];
    if (there[i])
      snprintf(out[i].version, sizeof out[i].version, "0.0.%d", i);
    else
      snprintf(out[i].trouble, sizeof out[i].trouble, "%s is missing", names[i]);
  }
}
