/* SB_HOST_DEVICE marks functions in headers that run on processors and on GPUs. */
#ifndef SB_BASE_DEVICE_H
#define SB_BASE_DEVICE_H

#ifdef __CUDACC__
#define SB_HOST_DEVICE __host__ __device__
#else
#define SB_HOST_DEVICE
#endif

#endif
