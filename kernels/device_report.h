/* What this build and this machine have of CUDA, for `shardbits doctor`: facts, and what is wrong
 * with them, whether or not a device can be used. */
#ifndef SB_KERNELS_DEVICE_REPORT_H
#define SB_KERNELS_DEVICE_REPORT_H

#include <stdbool.h>
#include <stdint.h>

enum { SB_REPORT_GPUS = 16, SB_REPORT_LIBRARIES = 3, SB_REPORT_TEXT = 1024 };

typedef struct sb_library_report {
  const char *name;             /* "cuBLAS" */
  char version[32];             /* "13.0.2" */
  char path[SB_REPORT_TEXT];    /* the file; "" if it was not found */
  char trouble[SB_REPORT_TEXT]; /* why it cannot be used, or "" */
} sb_library_report;

typedef struct sb_gpu_report {
  char name[256], uuid[40];
  int major, minor; /* compute capability */
  int multiprocessors;
  uint64_t memory_bytes;
} sb_gpu_report;

typedef struct sb_device_report {
  bool built;                   /* this program has the CUDA backend */
  int runtime, driver;          /* CUDA versions: 13000 for 13.0; 0 for no driver */
  char trouble[SB_REPORT_TEXT]; /* why there is no device, or "" */
  int gpus;                     /* that this process sees; the first SB_REPORT_GPUS are described */
  sb_gpu_report gpu[SB_REPORT_GPUS];
  sb_library_report library[SB_REPORT_LIBRARIES]; /* cuBLAS, cuSOLVER, NCCL */
} sb_device_report;

/* Fills *out. Loads the libraries; takes no device into use. Local. */
void sb_device_report_make(sb_device_report *out);

#endif
