/* The way into the CUDA backend, for kernels/device.c and for tests: plain C. */
#ifndef SB_KERNELS_CUDA_CUDA_DEVICE_H
#define SB_KERNELS_CUDA_CUDA_DEVICE_H

#include "kernels/backend.h"

/* Number of CUDA devices; SB_ERR_DEVICE, saying whether driver or device is missing or the driver is too old, where there
 * are none. Local. */
sb_status sb_cuda_count(int *count);

/* The CUDA backend on device `index` (modulo their number). `place` ("rank 3 on node gpu07") begins every message.
 * SB_ERR_DEVICE for a device that cannot be used. The calling thread is the one that uses the backend. Release with
 * op->destroy. Local. */
sb_status sb_cuda_create(sb_compute compute, int index, const char *place, sb_backend **out);

/* "rank 3 on node gpu07, GPU 1 (NVIDIA H100)"; belongs to the backend. */
const char *sb_cuda_where(const sb_backend *backend);

#endif
