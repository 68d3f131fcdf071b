/* Stands where cuSOLVER's header would: the names kernels/cuda uses. */
#ifndef SB_TESTS_CUDA_HOST_CUSOLVERDN_H
#define SB_TESTS_CUDA_HOST_CUSOLVERDN_H

#include <cublas_v2.h>

typedef struct sb_host_solver *cusolverDnHandle_t;
typedef struct sb_host_solver_params *cusolverDnParams_t;
enum cusolverStatus_t { CUSOLVER_STATUS_SUCCESS = 0, CUSOLVER_STATUS_INVALID_VALUE = 3 };

#endif
