/* Stands where NCCL's header would: the names kernels/cuda uses. */
#ifndef SB_TESTS_CUDA_HOST_NCCL_H
#define SB_TESTS_CUDA_HOST_NCCL_H

#include <cuda_runtime.h>

typedef struct sb_host_nccl *ncclComm_t;
typedef struct {
  char internal[128];
} ncclUniqueId;
enum ncclResult_t {
  ncclSuccess = 0,
  ncclUnhandledCudaError = 1,
  ncclInvalidArgument = 4,
  ncclInvalidUsage = 5,
  ncclInProgress = 7
};
typedef struct {
  int blocking;
} ncclConfig_t;
#define NCCL_CONFIG_INITIALIZER                                                                    \
  { 1 }
enum ncclDataType_t { ncclInt8 = 0, ncclInt64 = 4 };
enum ncclRedOp_t { ncclSum = 0 };

#endif
