/* SB_HOST_DEVICE: before a function in a header that code for processors and code
 * for GPUs both call. */
#ifndef SB_BASE_DEVICE_H
#define SB_BASE_DEVICE_H

#ifdef __CUDACC__
#define SB_HOST_DEVICE __host__ __device__
#else
#define SB_HOST_DEVICE
#endif

#endif
