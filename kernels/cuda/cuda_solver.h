/* The functions of cuSOLVER that the backend uses, looked up on first use (cuda_library.h). */
#ifndef SB_KERNELS_CUDA_CUDA_SOLVER_H
#define SB_KERNELS_CUDA_CUDA_SOLVER_H

#include <cusolverDn.h>

extern "C" {
#include "base/status.h"
}

typedef struct sb_cuda_solver {
  void *library;
  cusolverDnHandle_t handle; /* NULL until the first factor is computed */
  cusolverDnParams_t params;
  cusolverStatus_t (*create)(cusolverDnHandle_t *);
  cusolverStatus_t (*destroy)(cusolverDnHandle_t);
  cusolverStatus_t (*create_params)(cusolverDnParams_t *);
  cusolverStatus_t (*destroy_params)(cusolverDnParams_t);
  cusolverStatus_t (*set_stream)(cusolverDnHandle_t, cudaStream_t);
  cusolverStatus_t (*potrf_size)(cusolverDnHandle_t, cusolverDnParams_t, cublasFillMode_t,
                                 int64_t n, cudaDataType, const void *a, int64_t lda, cudaDataType,
                                 size_t *device, size_t *host);
  cusolverStatus_t (*potrf)(cusolverDnHandle_t, cusolverDnParams_t, cublasFillMode_t, int64_t n,
                            cudaDataType, void *a, int64_t lda, cudaDataType, void *device,
                            size_t device_bytes, void *host, size_t host_bytes, int *info);
  cusolverStatus_t (*trtri_size)(cusolverDnHandle_t, cublasFillMode_t, cublasDiagType_t, int64_t n,
                                 cudaDataType, void *a, int64_t lda, size_t *device, size_t *host);
  cusolverStatus_t (*trtri)(cusolverDnHandle_t, cublasFillMode_t, cublasDiagType_t, int64_t n,
                            cudaDataType, void *a, int64_t lda, void *device, size_t device_bytes,
                            void *host, size_t host_bytes, int *info);
} sb_cuda_solver;

/* Finds the library and its functions; creates neither handle nor params. SB_ERR_UNSUPPORTED if the
 * library is missing; the message begins with `where` and names the file. Local. */
sb_status sb_cuda_solver_load(sb_cuda_solver *solver, const char *where);
/* Unloads the library; does nothing if it was not loaded. */
void sb_cuda_solver_unload(sb_cuda_solver *solver);

#endif
