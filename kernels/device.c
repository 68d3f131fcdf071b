#include "kernels/device.h"

#include "kernels/device_report.h"

#ifdef SB_HAVE_CUDA

#include "kernels/cuda/cuda_device.h"

bool sb_device_has_cuda(void) {
  return true;
}

sb_status sb_device_cuda(sb_compute compute, int index, const char *host, sb_backend **out,
                         sb_device_identity *identity) {
  SB_TRY(sb_cuda_create(compute, index, host, out));
  sb_cuda_identify(*out, identity);
  return SB_OK;
}

void sb_device_report_make(sb_device_report *out) {
  *out = (sb_device_report){.built = true};
  sb_cuda_report(out);
}

#else

bool sb_device_has_cuda(void) {
  return false;
}

sb_status sb_device_cuda(sb_compute compute, int index, const char *host, sb_backend **out,
                         sb_device_identity *identity) {
  (void)compute, (void)index, (void)host, (void)identity;
  *out = NULL;
  return sb_fail(
      SB_ERR_UNSUPPORTED,
      "this shardbits was built without CUDA: build it where nvcc is found, or use --device cpu");
}

void sb_device_report_make(sb_device_report *out) {
  *out = (sb_device_report){.trouble = "this shardbits was built without CUDA"};
}

#endif
