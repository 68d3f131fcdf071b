/* The devices that this build and this machine offer. No other place knows whether the CUDA backend
 * was built: callers ask here, and then use an sb_backend. All calls are local. */
#ifndef SB_KERNELS_DEVICE_H
#define SB_KERNELS_DEVICE_H

#include "kernels/backend.h"
#include "kernels/device_identity.h"

/* Values of --device. */
typedef enum sb_device { SB_DEVICE_AUTO, SB_DEVICE_CPU, SB_DEVICE_CUDA } sb_device;

/* True if the CUDA backend is part of this build. */
bool sb_device_has_cuda(void);

/* Creates the CUDA backend on GPU number `index`, modulo the number of GPUs this process sees.
 * `host` is for messages. SB_ERR_UNSUPPORTED: the build has no CUDA backend, or the machine no
 * cuBLAS. SB_ERR_ABSENT: there is no driver, or no GPU. SB_ERR_DEVICE: they are there and cannot be
 * used: the driver is older than the build's toolkit, the GPU older than compute capability 8.0, or
 * something fails. The message is one line with cause and remedy.
 * Release with op->destroy. */
sb_status sb_device_cuda(sb_compute compute, int index, const char *host, sb_backend **out,
                         sb_device_identity *identity);

#endif
