#include "kernels/cuda/number.cuh"

#include <limits.h>

template <typename To, typename From>
static __global__ void __launch_bounds__(SB_CUDA_THREADS)
    pack_operand(To *to, const From *from, size_t rows, size_t cols, size_t ld) {
  const size_t step = (size_t)gridDim.x * blockDim.x, count = rows * cols;
  for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += step)
    sb_store_number(&to[i], sb_number(from[i / cols * ld + i % cols]));
}

/* *out = the operand as `want`, in scratch where it has another type; *ld becomes its row length
 * there. */
static sb_status operand(sb_backend *backend, cudaStream_t stream, sb_cuda_slot slot,
                         const void **x, sb_dtype have, sb_dtype want, size_t rows, size_t cols,
                         size_t *ld) {
  if (have == want) return SB_OK;
  void *copy;
  SB_TRY(sb_cuda_scratch(backend, stream, slot, rows * cols * sb_dtype_size(want), &copy));
  if (*ld == cols) {
    SB_TRY(sb_cuda_convert(backend, (sb_stream)stream, copy, want, *x, have, rows * cols));
  } else {
    const size_t row = *ld;
    const void *from = *x;
    SB_TRY(sb_with_number(want, "GEMM operand", [&](auto to) {
      return sb_with_number(have, "GEMM operand", [&](auto source) {
        typedef decltype(to) To;
        typedef decltype(source) From;
        return sb_cuda_launch(backend, stream, "gemm", pack_operand<To, From>,
                              sb_cuda_blocks_for(backend, rows * cols), SB_CUDA_THREADS, 0,
                              (To *)copy, (const From *)from, rows, cols, row);
      });
    }));
  }
  *x = copy;
  *ld = cols;
  return SB_OK;
}

static __global__ void __launch_bounds__(SB_CUDA_THREADS)
    scale(float *c, size_t ldc, size_t m, size_t n, float beta) {
  const size_t step = (size_t)gridDim.x * blockDim.x;
  for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < m * n; i += step) {
    float *at = c + i / n * ldc + i % n;
    *at = beta == 0.0f ? 0.0f : beta * *at;
  }
}

static sb_status check_counts(size_t m, size_t n, size_t k, size_t lda, size_t ldb, size_t ldc) {
  if (m > INT_MAX || n > INT_MAX || k > INT_MAX || lda > INT_MAX || ldb > INT_MAX || ldc > INT_MAX)
    return sb_fail(SB_ERR_UNSUPPORTED, "GEMM %zu x %zu x %zu: BLAS counts rows in 32 bits", m, n,
                   k);
  return SB_OK;
}

/* Operands are bf16 where `brain`, else f32. */
static sb_status product(sb_backend *backend, cudaStream_t stream, bool brain, bool trans_a,
                         bool trans_b, size_t m, size_t n, size_t k, float alpha, const void *a,
                         size_t lda, const void *b, size_t ldb, float beta, float *c, size_t ldc) {
  sb_cuda *cuda = sb_cuda_of(backend);
  void *workspace;
  SB_TRY(sb_cuda_scratch(backend, stream, SB_CUDA_SLOT_WORKSPACE, SB_CUDA_WORKSPACE, &workspace));
  cublasStatus_t status = cuda->blas.set_stream(cuda->blas.handle, stream);
  if (status == CUBLAS_STATUS_SUCCESS)
    status = cuda->blas.set_workspace(cuda->blas.handle, workspace, SB_CUDA_WORKSPACE);
  /* cuBLAS counts by columns: what it sees are the transposed matrices, and C' = B' A'. */
  if (status == CUBLAS_STATUS_SUCCESS)
    status = cuda->blas.gemm(
        cuda->blas.handle, trans_b ? CUBLAS_OP_T : CUBLAS_OP_N, trans_a ? CUBLAS_OP_T : CUBLAS_OP_N,
        (int)n, (int)m, (int)k, &alpha, b, brain ? CUDA_R_16BF : CUDA_R_32F, (int)ldb, a,
        brain ? CUDA_R_16BF : CUDA_R_32F, (int)lda, &beta, c, CUDA_R_32F, (int)ldc,
        brain ? CUBLAS_COMPUTE_32F : CUBLAS_COMPUTE_32F_PEDANTIC, CUBLAS_GEMM_DEFAULT);
  if (status != CUBLAS_STATUS_SUCCESS)
    return sb_fail(SB_ERR_DEVICE,
                   "%s: cuBLAS failed at a product of %zu x %zu x %zu (its status %d)", cuda->where,
                   m, n, k, (int)status);
  backend->gemm_flops += 2.0 * (double)m * (double)n * (double)k;
  return SB_OK;
}

sb_status sb_cuda_gemm(sb_backend *backend, sb_stream which, bool trans_a, bool trans_b, size_t m,
                       size_t n, size_t k, float alpha, const void *a, sb_dtype a_dtype, size_t lda,
                       const void *b, sb_dtype b_dtype, size_t ldb, float beta, void *c,
                       sb_dtype c_dtype, size_t ldc) {
  const cudaStream_t stream = sb_cuda_stream(backend, which);
  const size_t a_rows = trans_a ? k : m, a_cols = trans_a ? m : k, b_rows = trans_b ? n : k,
               b_cols = trans_b ? k : n;
  if (c_dtype != SB_F32 || !sb_dtype_is_weight(a_dtype) || !sb_dtype_is_weight(b_dtype))
    return sb_fail(SB_ERR_UNSUPPORTED,
                   "GEMM of %s and %s into %s: the CUDA backend takes F32, F16, BF16 and gives F32",
                   sb_dtype_name(a_dtype), sb_dtype_name(b_dtype), sb_dtype_name(c_dtype));
  if (lda < a_cols || ldb < b_cols || ldc < n)
    return sb_fail(SB_ERR_INTERNAL,
                   "GEMM %zu x %zu x %zu: a row length (%zu, %zu, %zu) is shorter than the row", m,
                   n, k, lda, ldb, ldc);
  SB_TRY(check_counts(m, n, k, lda, ldb, ldc));
  if (m == 0 || n == 0) return SB_OK;
  if (k == 0 || alpha == 0.0f)
    return sb_cuda_launch(backend, stream, "gemm", scale, sb_cuda_blocks_for(backend, m * n),
                          SB_CUDA_THREADS, 0, (float *)c, ldc, m, n, beta);
  const bool brain = sb_cuda_of(backend)->compute == SB_COMPUTE_BF16;
  const sb_dtype type = brain ? SB_BF16 : SB_F32;
  SB_TRY(operand(backend, stream, SB_CUDA_SLOT_A, &a, a_dtype, type, a_rows, a_cols, &lda));
  SB_TRY(operand(backend, stream, SB_CUDA_SLOT_B, &b, b_dtype, type, b_rows, b_cols, &ldb));
  return product(backend, stream, brain, trans_a, trans_b, m, n, k, alpha, a, lda, b, ldb, beta,
                 (float *)c, ldc);
}

sb_status sb_cuda_add_product(sb_backend *backend, cudaStream_t stream, size_t m, size_t n,
                              size_t k, float alpha, const float *a, size_t lda, const float *b,
                              size_t ldb, float *c, size_t ldc) {
  SB_TRY(check_counts(m, n, k, lda, ldb, ldc));
  return product(backend, stream, false, false, false, m, n, k, alpha, a, lda, b, ldb, 1.0f, c,
                 ldc);
}
