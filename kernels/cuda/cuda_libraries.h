/* Which libraries of CUDA are found, where, and of which version. */
#ifndef SB_KERNELS_CUDA_CUDA_LIBRARIES_H
#define SB_KERNELS_CUDA_CUDA_LIBRARIES_H

extern "C" {
#include "kernels/device_report.h"
}

/* Loads cuBLAS, cuSOLVER and NCCL as the backend does, and describes them. Local. */
void sb_cuda_libraries_report(sb_library_report out[SB_REPORT_LIBRARIES]);

#endif
