/* Which devices this build and this machine offer: the one place that knows whether the CUDA
 * backend was built. Everything above asks here and goes on with an sb_backend. All calls are
 * local. */
#ifndef SB_KERNELS_DEVICE_H
#define SB_KERNELS_DEVICE_H

#include "kernels/backend.h"
#include "kernels/device_identity.h"

/* --device */
typedef enum sb_device { SB_DEVICE_AUTO, SB_DEVICE_CPU, SB_DEVICE_CUDA } sb_device;

/* True where the CUDA backend is part of this build. */
bool sb_device_has_cuda(void);

/* The CUDA backend on GPU number `index`, modulo the number of GPUs this process sees. `host` is
 * for messages. SB_ERR_UNSUPPORTED from a build without it, or without cuBLAS; SB_ERR_DEVICE where
 * there is no driver, an older one than the build's toolkit, no GPU, or one below compute
 * capability 8.0; one line saying what is the matter and what helps. Release with op->destroy. */
sb_status sb_device_cuda(sb_compute compute, int index, const char *host, sb_backend **out,
                         sb_device_identity *identity);

#endif
