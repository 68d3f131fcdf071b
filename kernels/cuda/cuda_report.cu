/* Facts about the driver and the devices. */
#include "kernels/cuda/cuda.h"

#include <stdio.h>

#include "kernels/cuda/cuda_libraries.h"

extern "C" {
#include "kernels/cuda/cuda_device.h"
}

static void describe(int index, sb_gpu_report *gpu) {
  cudaDeviceProp properties;
  if (cudaGetDeviceProperties(&properties, index) != cudaSuccess) {
    snprintf(gpu->name, sizeof gpu->name, "does not answer");
    return;
  }
  const unsigned char *u = (const unsigned char *)&properties.uuid;
  snprintf(gpu->name, sizeof gpu->name, "%s", properties.name);
  snprintf(gpu->uuid, sizeof gpu->uuid,
           "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", u[0], u[1], u[2],
           u[3], u[4], u[5], u[6], u[7], u[8], u[9], u[10], u[11], u[12], u[13], u[14], u[15]);
  gpu->major = properties.major;
  gpu->minor = properties.minor;
  gpu->memory_bytes = properties.totalGlobalMem;
  (void)cudaDeviceGetAttribute(&gpu->multiprocessors, cudaDevAttrMultiProcessorCount, index);
}

void sb_cuda_report(sb_device_report *out) {
  (void)cudaRuntimeGetVersion(&out->runtime);
  (void)cudaDriverGetVersion(&out->driver);
  if (sb_cuda_count_devices(&out->gpus) != SB_OK)
    snprintf(out->trouble, sizeof out->trouble, "%s", sb_message());
  for (int i = 0; i < out->gpus && i < SB_REPORT_GPUS; i++) describe(i, &out->gpu[i]);
  sb_cuda_libraries_report(out->library);
}
