/* The way into the CUDA backend, for kernels/device.c and for tests: plain C. */
#ifndef SB_KERNELS_CUDA_CUDA_DEVICE_H
#define SB_KERNELS_CUDA_CUDA_DEVICE_H

#include "kernels/backend.h"
#include "kernels/device_identity.h"

/* Creates the backend; arguments and errors as for sb_device_cuda (kernels/device.h). Only the
 * thread that calls this may use the backend. Local. */
sb_status sb_cuda_create(sb_compute compute, int index, const char *host, sb_backend **out);

void sb_cuda_identify(const sb_backend *backend, sb_device_identity *out);

#endif
