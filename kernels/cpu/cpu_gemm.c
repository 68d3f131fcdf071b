#include "kernels/cpu/cpu.h"

#include <limits.h>
#include <omp.h>

#include "base/clock.h"
#include "base/memory.h"
#include "kernels/cpu/cpu_gemm_bf16.h"
#include "kernels/cpu/cpu_sgemm.h"

/* *out = the operand as `want`, in scratch where it has another type; *ld becomes its row length
 * there. */
static sb_status operand(sb_backend *backend, sb_cpu_slot slot, const void *x, sb_dtype have,
                         sb_dtype want, size_t rows, size_t cols, size_t *ld, const void **out) {
  if (have == want) {
    *out = x;
    return SB_OK;
  }
  size_t count, size = sb_dtype_size(want), step = sb_dtype_size(have);
  char *copy;
  if (!sb_mul_size(rows, cols, &count))
    return sb_fail(SB_ERR_MEMORY, "GEMM operand of %zu x %zu overflows", rows, cols);
  SB_TRY(sb_cpu_scratch(backend, slot, count, size, &copy));
  if (*ld == cols) {
    SB_TRY(sb_cpu_convert(backend, NULL, copy, want, x, have, count));
  } else {
    for (size_t i = 0; i < rows; i++)
      SB_TRY(sb_cpu_convert(backend, NULL, copy + i * cols * size, want,
                            (const char *)x + i * *ld * step, have, cols));
  }
  *ld = cols;
  *out = copy;
  return SB_OK;
}

static void scale(float *c, size_t ldc, size_t m, size_t n, float beta) {
  for (size_t i = 0; i < m; i++)
    for (size_t j = 0; j < n; j++) c[i * ldc + j] = beta == 0.0f ? 0.0f : beta * c[i * ldc + j];
}

static sb_status gemm_f32(int threads, bool trans_a, bool trans_b, size_t m, size_t n, size_t k,
                          float alpha, const float *a, size_t lda, const float *b, size_t ldb,
                          float beta, float *c, size_t ldc) {
  sb_gemm_cut cut = sb_sgemm_cut(trans_b, m, n);
  size_t tiles = cut.count_m * cut.count_n;
  int failed = 0;
#pragma omp parallel num_threads(threads) reduction(| : failed)
  {
    /* The library asks OpenMP how many threads it may use: one, also where this team has a single
     * member. The setting belongs to this implicit task and ends with it. */
    omp_set_num_threads(1);
#pragma omp for schedule(dynamic, 1)
    for (size_t tile = 0; tile < tiles; tile++) {
      size_t i = tile / cut.count_n * cut.tile_m, j = tile % cut.count_n * cut.tile_n;
      failed |= !sb_cpu_sgemm(trans_a, trans_b, sb_min_size(cut.tile_m, m - i),
                              sb_min_size(cut.tile_n, n - j), k, alpha, a + (trans_a ? i : i * lda),
                              lda, b + (trans_b ? j * ldb : j), ldb, beta, c + i * ldc + j, ldc);
    }
  }
  if (failed)
    return sb_fail(SB_ERR_MEMORY, "GEMM %zu x %zu x %zu: the library refused; is memory left?", m,
                   n, k);
  return SB_OK;
}

sb_status sb_cpu_gemm(sb_backend *backend, sb_stream stream, bool trans_a, bool trans_b, size_t m,
                      size_t n, size_t k, float alpha, const void *a, sb_dtype a_dtype, size_t lda,
                      const void *b, sb_dtype b_dtype, size_t ldb, float beta, void *c,
                      sb_dtype c_dtype, size_t ldc) {
  (void)stream;
  sb_cpu *cpu = backend->impl;
  size_t a_rows = trans_a ? k : m, a_cols = trans_a ? m : k, b_rows = trans_b ? n : k,
         b_cols = trans_b ? k : n;
  if (c_dtype != SB_F32 || !sb_dtype_is_weight(a_dtype) || !sb_dtype_is_weight(b_dtype))
    return sb_fail(SB_ERR_UNSUPPORTED,
                   "GEMM of %s and %s into %s: the CPU backend takes F32, F16, BF16 and gives F32",
                   sb_dtype_name(a_dtype), sb_dtype_name(b_dtype), sb_dtype_name(c_dtype));
  if (lda < a_cols || ldb < b_cols || ldc < n)
    return sb_fail(SB_ERR_INTERNAL,
                   "GEMM %zu x %zu x %zu: a row length (%zu, %zu, %zu) is shorter than the row", m,
                   n, k, lda, ldb, ldc);
  if (k > INT_MAX || lda > INT_MAX || ldb > INT_MAX || ldc > INT_MAX)
    return sb_fail(SB_ERR_UNSUPPORTED, "GEMM %zu x %zu x %zu: BLAS counts rows in 32 bits", m, n,
                   k);
  if (m == 0 || n == 0) return SB_OK;
  if (k == 0 || alpha == 0.0f) {
    scale(c, ldc, m, n, beta);
    return SB_OK;
  }
  double start = sb_now();
  sb_dtype type = cpu->compute == SB_COMPUTE_BF16 ? SB_BF16 : SB_F32;
  SB_TRY(operand(backend, SB_CPU_SLOT_A, a, a_dtype, type, a_rows, a_cols, &lda, &a));
  SB_TRY(operand(backend, SB_CPU_SLOT_B, b, b_dtype, type, b_rows, b_cols, &ldb, &b));
  if (cpu->compute == SB_COMPUTE_BF16)
    SB_TRY(sb_cpu_bf16_gemm(cpu->bf16, sb_cpu_threads(backend), trans_a, trans_b, m, n, k, alpha, a,
                            lda, b, ldb, beta, c, ldc));
  else
    SB_TRY(gemm_f32(sb_cpu_threads(backend), trans_a, trans_b, m, n, k, alpha, a, lda, b, ldb, beta,
                    c, ldc));
  backend->gemm_flops += 2.0 * (double)m * (double)n * (double)k;
  backend->gemm_seconds += sb_now() - start;
  return SB_OK;
}
