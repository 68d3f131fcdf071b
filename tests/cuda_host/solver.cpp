/* cuSOLVER's part by LAPACK, for the stand-in. Its memory is overwritten, as the real one's is. */
#include <math.h>
#include <string.h>

#include "kernels/cuda/cuda_solver.h"
#include "tests/cuda_host/cuda_host.h"

extern "C" {
void dpotrf_(const char *uplo, const int *n, double *a, const int *lda, int *info);
void dtrtri_(const char *uplo, const char *diag, const int *n, double *a, const int *lda,
             int *info);
}

struct sb_host_solver {
  cudaStream_t stream;
};
struct sb_host_solver_params {};

static cusolverStatus_t create(cusolverDnHandle_t *handle) {
  *handle = new sb_host_solver();
  return CUSOLVER_STATUS_SUCCESS;
}

static cusolverStatus_t destroy(cusolverDnHandle_t handle) {
  delete handle;
  return CUSOLVER_STATUS_SUCCESS;
}

static cusolverStatus_t create_params(cusolverDnParams_t *params) {
  *params = new sb_host_solver_params();
  return CUSOLVER_STATUS_SUCCESS;
}

static cusolverStatus_t destroy_params(cusolverDnParams_t params) {
  delete params;
  return CUSOLVER_STATUS_SUCCESS;
}

static cusolverStatus_t set_stream(cusolverDnHandle_t handle, cudaStream_t stream) {
  handle->stream = stream;
  return CUSOLVER_STATUS_SUCCESS;
}

static cusolverStatus_t potrf_size(cusolverDnHandle_t, cusolverDnParams_t, cublasFillMode_t,
                                   int64_t n, cudaDataType, const void *, int64_t, cudaDataType,
                                   size_t *device, size_t *host) {
  *device = (size_t)n * sizeof(double);
  *host = 0;
  return CUSOLVER_STATUS_SUCCESS;
}

static cusolverStatus_t trtri_size(cusolverDnHandle_t, cublasFillMode_t, cublasDiagType_t,
                                   int64_t n, cudaDataType, void *, int64_t, size_t *device,
                                   size_t *host) {
  *device = 2 * (size_t)n * sizeof(double);
  *host = (size_t)n;
  return CUSOLVER_STATUS_SUCCESS;
}

/* Queues `work`; both memories must be as large as was asked for. */
template <typename F>
static cusolverStatus_t queue(cusolverDnHandle_t handle, cudaDataType type, const void *a,
                              void *device, size_t device_bytes, size_t device_least, void *host,
                              size_t host_bytes, size_t host_least, int *info, F work) {
  if (type != CUDA_R_64F || device_bytes < device_least || host_bytes < host_least)
    return CUSOLVER_STATUS_INVALID_VALUE;
  for (const void *memory : {a, (const void *)device, (const void *)info})
    sb_host_expect_device(memory);
  memset(host, 0xff, host_bytes);
  sb_host_queue(handle->stream, [=]() {
    memset(device, 0xff, device_bytes);
    work();
  });
  return CUSOLVER_STATUS_SUCCESS;
}

static cusolverStatus_t potrf(cusolverDnHandle_t handle, cusolverDnParams_t, cublasFillMode_t fill,
                              int64_t n, cudaDataType type, void *a, int64_t lda, cudaDataType,
                              void *device, size_t device_bytes, void *host, size_t host_bytes,
                              int *info) {
  return queue(handle, type, a, device, device_bytes, (size_t)n * sizeof(double), host, host_bytes,
               0, info, [=]() {
                 const int order = (int)n, ld = (int)lda;
                 dpotrf_(fill == CUBLAS_FILL_MODE_UPPER ? "U" : "L", &order, (double *)a, &ld,
                         info);
               });
}

static cusolverStatus_t trtri(cusolverDnHandle_t handle, cublasFillMode_t fill,
                              cublasDiagType_t diag, int64_t n, cudaDataType type, void *a,
                              int64_t lda, void *device, size_t device_bytes, void *host,
                              size_t host_bytes, int *info) {
  return queue(handle, type, a, device, device_bytes, 2 * (size_t)n * sizeof(double), host,
               host_bytes, (size_t)n, info, [=]() {
                 const int order = (int)n, ld = (int)lda;
                 dtrtri_(fill == CUBLAS_FILL_MODE_UPPER ? "U" : "L",
                         diag == CUBLAS_DIAG_UNIT ? "U" : "N", &order, (double *)a, &ld, info);
               });
}

sb_status sb_cuda_solver_load(sb_cuda_solver *solver, const char *where) {
  if (!sb_cuda_host_device.solver)
    return sb_fail(SB_ERR_UNSUPPORTED, "%s: cuSOLVER is missing: use --factor distributed", where);
  solver->library = &sb_cuda_host_device;
  solver->create = create;
  solver->destroy = destroy;
  solver->create_params = create_params;
  solver->destroy_params = destroy_params;
  solver->set_stream = set_stream;
  solver->potrf_size = potrf_size;
  solver->potrf = potrf;
  solver->trtri_size = trtri_size;
  solver->trtri = trtri;
  return SB_OK;
}

void sb_cuda_solver_unload(sb_cuda_solver *solver) {
  solver->library = NULL;
}
