#include "kernels/cuda/number.cuh"
extern "C" {
#include "kernels/shared/checks.h"
}

template <typename To, typename From>
static __global__ void __launch_bounds__(SB_CUDA_THREADS)
    pack_operand(To *to, const From *from, size_t rows, size_t cols, size_t ld) {
  const size_t step = (size_t)gridDim.x * blockDim.x, count = rows * cols;
  for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += step)
    sb_store_number(&to[i], sb_number(from[i / cols * ld + i % cols]));
}

/* Makes an operand [rows, cols], as it lies in memory, of type `want`: a copy in scratch if it has
 * another type. */
static sb_status convert_operand(sb_backend *backend, cudaStream_t stream, sb_cuda_slot slot,
                                 sb_matrix_view *x, sb_dtype want, size_t rows, size_t cols) {
  if (x->dtype == want) return SB_OK;
  void *copy;
  SB_TRY(sb_cuda_scratch(backend, stream, slot, rows * cols * sb_dtype_size(want), &copy));
  if (x->ld == cols) {
    SB_TRY(sb_cuda_convert(backend, (sb_stream)stream, copy, want, x->data, x->dtype, rows * cols));
  } else {
    SB_TRY(sb_with_number(want, "GEMM operand", [&](auto to) {
      return sb_with_number(x->dtype, "GEMM operand", [&](auto source) {
        typedef decltype(to) To;
        typedef decltype(source) From;
        return sb_cuda_launch(backend, stream, "gemm", pack_operand<To, From>,
                              sb_cuda_blocks_for(backend, rows * cols), SB_CUDA_THREADS, 0,
                              (To *)copy, (const From *)x->data, rows, cols, x->ld);
      });
    }));
  }
  x->data = copy;
  x->dtype = want;
  x->ld = cols;
  return SB_OK;
}

static __global__ void __launch_bounds__(SB_CUDA_THREADS)
    clear(float *c, size_t ldc, size_t m, size_t n) {
  const size_t step = (size_t)gridDim.x * blockDim.x;
  for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < m * n; i += step)
    c[i / n * ldc + i % n] = 0.0f;
}

static sb_status check(const sb_gemm_args *g) {
  SB_TRY(sb_check_gemm("CUDA", g));
  if (g->m > INT_MAX)
    return sb_fail(SB_ERR_UNSUPPORTED, "GEMM %zu x %zu x %zu: BLAS counts rows in 32 bits", g->m,
                   g->n, g->k);
  return SB_OK;
}

/* out = s of the product, and what C is multiplied by. */
static __global__ void factors(float *out, const float *scale_a, const float *scale_b, bool add) {
  if (threadIdx.x > 0) return;
  out[0] = (scale_a ? *scale_a : 1.0f) * (scale_b ? *scale_b : 1.0f);
  out[1] = add ? 1.0f : 0.0f;
}

/* C = alpha op(A) op(B) + beta C; both factors lie on the device if `on_device`, else on the host.
 * Operands are bf16 if `brain`, else f32. */
static sb_status product(sb_backend *backend, cudaStream_t stream, bool brain,
                         const sb_gemm_args *g, bool on_device, const float *alpha,
                         const float *beta) {
  sb_cuda *cuda = sb_cuda_of(backend);
  const cudaDataType type = brain ? CUDA_R_16BF : CUDA_R_32F;
  void *workspace;
  SB_TRY(sb_cuda_scratch(backend, stream, SB_CUDA_SLOT_WORKSPACE, SB_CUDA_WORKSPACE, &workspace));
  cublasStatus_t status = cuda->blas.set_stream(cuda->blas.handle, stream);
  if (status == CUBLAS_STATUS_SUCCESS)
    status = cuda->blas.set_workspace(cuda->blas.handle, workspace, SB_CUDA_WORKSPACE);
  if (status == CUBLAS_STATUS_SUCCESS)
    status = cuda->blas.set_pointer_mode(cuda->blas.handle, on_device ? CUBLAS_POINTER_MODE_DEVICE
                                                                      : CUBLAS_POINTER_MODE_HOST);
  /* cuBLAS is column-major, so it sees transposed matrices: C' = B' A'. */
  if (status == CUBLAS_STATUS_SUCCESS)
    status = cuda->blas.gemm(
        cuda->blas.handle, g->b.transposed ? CUBLAS_OP_T : CUBLAS_OP_N,
        g->a.transposed ? CUBLAS_OP_T : CUBLAS_OP_N, (int)g->n, (int)g->m, (int)g->k, alpha,
        g->b.data, type, (int)g->b.ld, g->a.data, type, (int)g->a.ld, beta, g->c, CUDA_R_32F,
        (int)g->ldc, brain ? CUBLAS_COMPUTE_32F : CUBLAS_COMPUTE_32F_PEDANTIC, CUBLAS_GEMM_DEFAULT);
  if (status != CUBLAS_STATUS_SUCCESS)
    return sb_fail(SB_ERR_DEVICE,
                   "%s: cuBLAS failed at a product of %zu x %zu x %zu (its status %d)", cuda->where,
                   g->m, g->n, g->k, (int)status);
  backend->gemm_flops += 2.0 * (double)g->m * (double)g->n * (double)g->k;
  return SB_OK;
}

sb_status sb_cuda_gemm(sb_backend *backend, sb_stream which, const sb_gemm_args *args) {
  const cudaStream_t stream = sb_cuda_stream(backend, which);
  sb_gemm_args g = *args;
  SB_TRY(check(&g));
  if (g.m == 0 || g.n == 0 || (g.k == 0 && g.add)) return SB_OK;
  if (g.k == 0)
    return sb_cuda_launch(backend, stream, "gemm", clear, sb_cuda_blocks_for(backend, g.m * g.n),
                          SB_CUDA_THREADS, 0, (float *)g.c, g.ldc, g.m, g.n);
  const bool brain = g.type == SB_GEMM_OPERANDS ? sb_cuda_of(backend)->compute == SB_COMPUTE_BF16
                                                : g.type == SB_GEMM_BF16;
  const sb_dtype type = brain ? SB_BF16 : SB_F32;
  SB_TRY(convert_operand(backend, stream, SB_CUDA_SLOT_A, &g.a, type, sb_gemm_a_rows(&g),
                         sb_gemm_a_cols(&g)));
  SB_TRY(convert_operand(backend, stream, SB_CUDA_SLOT_B, &g.b, type, sb_gemm_b_rows(&g),
                         sb_gemm_b_cols(&g)));
  const float one = 1.0f, beta = g.add ? 1.0f : 0.0f;
  if (!g.scale_a && !g.scale_b) return product(backend, stream, brain, &g, false, &one, &beta);
  float *both;
  SB_TRY(sb_cuda_scratch(backend, stream, SB_CUDA_SLOT_SMALL, 2 * sizeof *both, &both));
  SB_TRY(sb_cuda_launch(backend, stream, "gemm", factors, 1, SB_WARP, 0, both, g.scale_a, g.scale_b,
                        g.add));
  return product(backend, stream, brain, &g, true, both, both + 1);
}

sb_status sb_cuda_add_product(sb_backend *backend, cudaStream_t stream, const sb_gemm_args *g,
                              float alpha) {
  SB_TRY(check(g));
  const float beta = g->add ? 1.0f : 0.0f;
  return product(backend, stream, false, g, false, &alpha, &beta);
}
