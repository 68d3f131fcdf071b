/* cuBLAS' part by OpenBLAS, for the stand-in: bf16 operands become the floats they stand for. */
#include <cblas.h>

#include <vector>

#include "kernels/cuda/cuda_blas.h"
#include "tests/cuda_host/cuda_host.h"

struct sb_host_blas {
  cudaStream_t stream;
  bool factors_on_device;
};

static cublasStatus_t create(cublasHandle_t *handle) {
  *handle = new sb_host_blas();
  return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t destroy(cublasHandle_t handle) {
  delete handle;
  return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t set_stream(cublasHandle_t handle, cudaStream_t stream) {
  handle->stream = stream;
  return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t set_workspace(cublasHandle_t, void *, size_t) {
  return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t set_pointer_mode(cublasHandle_t handle, cublasPointerMode_t mode) {
  handle->factors_on_device = mode == CUBLAS_POINTER_MODE_DEVICE;
  return CUBLAS_STATUS_SUCCESS;
}

/* rows x cols by columns, with `ld` numbers from one to the next */
static const float *floats(std::vector<float> &copy, const void *x, cudaDataType type, size_t rows,
                           size_t cols, size_t ld) {
  if (type == CUDA_R_32F) return (const float *)x;
  const uint16_t *half = (const uint16_t *)x;
  copy.assign(ld * cols, 0.0f);
  for (size_t j = 0; j < cols; j++)
    for (size_t i = 0; i < rows; i++) {
      uint32_t bits = (uint32_t)half[j * ld + i] << 16;
      memcpy(&copy[j * ld + i], &bits, sizeof bits);
    }
  return copy.data();
}

static cublasStatus_t gemm(cublasHandle_t handle, cublasOperation_t op_a, cublasOperation_t op_b,
                           int m, int n, int k, const void *alpha_at, const void *a,
                           cudaDataType a_type, int lda, const void *b, cudaDataType b_type,
                           int ldb, const void *beta_at, void *c, cudaDataType c_type, int ldc,
                           cublasComputeType_t, cublasGemmAlgo_t) {
  /* On the host they are read at the call, on the device when its turn has come. */
  const bool later = handle->factors_on_device;
  const float *alpha_dev = (const float *)alpha_at, *beta_dev = (const float *)beta_at;
  const float alpha_now = later ? 0.0f : *alpha_dev, beta_now = later ? 0.0f : *beta_dev;
  if (later)
    for (const float *factor : {alpha_dev, beta_dev}) sb_host_expect_device(factor);
  if (c_type != CUDA_R_32F || a_type == CUDA_R_16F || b_type == CUDA_R_16F)
    return CUBLAS_STATUS_INVALID_VALUE;
  for (const void *operand : {a, b, (const void *)c}) sb_host_expect_device(operand);
  sb_host_queue(handle->stream, [=]() {
    const float alpha = later ? *alpha_dev : alpha_now, beta = later ? *beta_dev : beta_now;
    std::vector<float> copy_a, copy_b;
    const bool ta = op_a == CUBLAS_OP_T, tb = op_b == CUBLAS_OP_T;
    const float *x = floats(copy_a, a, a_type, ta ? k : m, ta ? m : k, lda);
    const float *y = floats(copy_b, b, b_type, tb ? n : k, tb ? k : n, ldb);
    cblas_sgemm(CblasColMajor, ta ? CblasTrans : CblasNoTrans, tb ? CblasTrans : CblasNoTrans, m, n,
                k, alpha, x, lda, y, ldb, beta, (float *)c, ldc);
  });
  return CUBLAS_STATUS_SUCCESS;
}

sb_status sb_cuda_blas_load(sb_cuda_blas *blas, const char *where) {
  if (!sb_cuda_host_device.blas)
    return sb_fail(SB_ERR_UNSUPPORTED, "%s: cuBLAS is missing: use --device cpu", where);
  blas->create = create;
  blas->destroy = destroy;
  blas->set_stream = set_stream;
  blas->set_workspace = set_workspace;
  blas->set_pointer_mode = set_pointer_mode;
  blas->gemm = gemm;
  return SB_OK;
}

void sb_cuda_blas_unload(sb_cuda_blas *) {}
