/* The functions of cuBLAS that the backend uses, looked up when a device is opened
 * (cuda_library.h). */
#ifndef SB_KERNELS_CUDA_CUDA_BLAS_H
#define SB_KERNELS_CUDA_CUDA_BLAS_H

#include <cublas_v2.h>

extern "C" {
#include "base/status.h"
}

typedef struct sb_cuda_blas {
  void *library;
  cublasHandle_t handle;
  cublasStatus_t (*create)(cublasHandle_t *);
  cublasStatus_t (*destroy)(cublasHandle_t);
  cublasStatus_t (*set_stream)(cublasHandle_t, cudaStream_t);
  cublasStatus_t (*set_workspace)(cublasHandle_t, void *, size_t);
  cublasStatus_t (*set_pointer_mode)(cublasHandle_t, cublasPointerMode_t);
  cublasStatus_t (*gemm)(cublasHandle_t, cublasOperation_t, cublasOperation_t, int m, int n, int k,
                         const void *alpha, const void *a, cudaDataType, int lda, const void *b,
                         cudaDataType, int ldb, const void *beta, void *c, cudaDataType, int ldc,
                         cublasComputeType_t, cublasGemmAlgo_t);
} sb_cuda_blas;

/* Finds the library and its functions; does not create the handle. SB_ERR_UNSUPPORTED if the
 * library is missing; the message begins with `where` and names the file. Local. */
sb_status sb_cuda_blas_load(sb_cuda_blas *blas, const char *where);
/* Unloads the library; does nothing if it was not loaded. */
void sb_cuda_blas_unload(sb_cuda_blas *blas);

#endif
