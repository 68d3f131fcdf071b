/* Which physical device a backend runs on. */
#ifndef SB_KERNELS_DEVICE_IDENTITY_H
#define SB_KERNELS_DEVICE_IDENTITY_H

#include <stdint.h>

typedef struct sb_device_identity {
  char name[256];   /* "GPU 1 (NVIDIA H100 80GB HBM3) of gpu07" */
  uint8_t uuid[16]; /* the same for two processes exactly where they have the same GPU */
} sb_device_identity;

#endif
