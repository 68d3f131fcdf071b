/* The physical device that a backend runs on. */
#ifndef SB_KERNELS_DEVICE_IDENTITY_H
#define SB_KERNELS_DEVICE_IDENTITY_H

#include <stdint.h>

typedef struct sb_device_identity {
  char name[256];   /* "GPU 1 (NVIDIA H100 80GB HBM3) of gpu07" */
  uint8_t uuid[16]; /* equal for two processes if and only if they have the same GPU */
} sb_device_identity;

#endif
