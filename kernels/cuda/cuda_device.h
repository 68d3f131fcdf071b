/* The way into the CUDA backend, for kernels/device.c and for tests: plain C. */
#ifndef SB_KERNELS_CUDA_CUDA_DEVICE_H
#define SB_KERNELS_CUDA_CUDA_DEVICE_H

#include "kernels/backend.h"
#include "kernels/device_identity.h"
#include "kernels/device_report.h"

/* Creates the backend; arguments and errors as for sb_device_cuda (kernels/device.h). Only the
 * thread that calls this may use the backend. Local. */
sb_status sb_cuda_create(sb_compute compute, int index, const char *host, sb_backend **out);

/* *count = the devices that this process sees. Where that is 0 the message is one line about the
 * driver and the devices: SB_ERR_ABSENT, or SB_ERR_DEVICE for what is there and does not work.
 * Local. */
sb_status sb_cuda_count_devices(int *count);

/* Fills all of *out but `built` (kernels/device_report.h). Local. */
void sb_cuda_report(sb_device_report *out);

void sb_cuda_identify(const sb_backend *backend, sb_device_identity *out);

#endif
