#include "kernels/cpu/cpu.h"

#include <omp.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "kernels/cpu/cpu_gemm_bf16.h"
#include "kernels/cpu/cpu_gemm_split.h"
#include "kernels/cpu/cpu_sgemm.h"
#include "kernels/shared/checks.h"

/* Makes an operand [rows, cols], as it lies in memory, of type `want`: a copy in scratch if it has
 * another type. */
static sb_status convert_operand(sb_backend *backend, sb_cpu_slot slot, sb_matrix_view *x,
                                 sb_dtype want, size_t rows, size_t cols) {
  if (x->dtype == want) return SB_OK;
  size_t count, size = sb_dtype_size(want), step = sb_dtype_size(x->dtype);
  char *copy;
  if (!sb_mul_size(rows, cols, &count))
    return sb_fail(SB_ERR_MEMORY, "GEMM operand of %zu x %zu overflows", rows, cols);
  SB_TRY(sb_cpu_scratch(backend, slot, count, size, &copy));
  if (x->ld == cols) {
    SB_TRY(sb_cpu_convert(backend, NULL, copy, want, x->data, x->dtype, count));
  } else {
    for (size_t i = 0; i < rows; i++)
      SB_TRY(sb_cpu_convert(backend, NULL, copy + i * cols * size, want,
                            (const char *)x->data + i * x->ld * step, x->dtype, cols));
  }
  *x = (sb_matrix_view){copy, want, cols, x->transposed};
  return SB_OK;
}

static void clear(const sb_gemm_args *g) {
  float *c = g->c;
  for (size_t i = 0; i < g->m; i++) memset(c + i * g->ldc, 0, g->n * sizeof *c);
}

static sb_status gemm_f32(int threads, const sb_gemm_args *g, float alpha) {
  const float *a = g->a.data, *b = g->b.data;
  float *c = g->c;
  const size_t lda = g->a.ld, ldb = g->b.ld;
  sb_gemm_cut cut = sb_sgemm_cut(g->b.transposed, g->m, g->n);
  size_t tiles = cut.count_m * cut.count_n;
  int failed = 0;
#pragma omp parallel num_threads(threads) reduction(| : failed)
  {
    /* The library asks OpenMP how many threads it may use. It must be one, even in a team of a
     * single member. The setting belongs to this implicit task and ends with it. */
    omp_set_num_threads(1);
#pragma omp for schedule(dynamic, 1)
    for (size_t tile = 0; tile < tiles; tile++) {
      size_t i = tile / cut.count_n * cut.tile_m, j = tile % cut.count_n * cut.tile_n;
      failed |= !sb_cpu_sgemm(g->a.transposed, g->b.transposed, sb_min_size(cut.tile_m, g->m - i),
                              sb_min_size(cut.tile_n, g->n - j), g->k, alpha,
                              a + (g->a.transposed ? i : i * lda), lda,
                              b + (g->b.transposed ? j * ldb : j), ldb, g->add ? 1.0f : 0.0f,
                              c + i * g->ldc + j, g->ldc);
    }
  }
  if (failed)
    return sb_fail(SB_ERR_MEMORY, "GEMM %zu x %zu x %zu: the library refused; is memory left?",
                   g->m, g->n, g->k);
  return SB_OK;
}

/* Whether this processor multiplies bf16 faster than f32. Prepares for it at the first question. */
static bool has_bf16(sb_cpu *cpu) {
#ifdef __AVX512BF16__
  if (!cpu->bf16 && !cpu->bf16_refused) cpu->bf16_refused = sb_cpu_bf16_create(&cpu->bf16) != SB_OK;
  return cpu->bf16 != NULL;
#else
  return cpu->bf16 != NULL && cpu->compute == SB_COMPUTE_BF16;
#endif
}

static sb_dtype type_of(sb_cpu *cpu, const sb_gemm_args *g) {
  if (g->type == SB_GEMM_F32) return SB_F32;
  if (g->type == SB_GEMM_BF16) return has_bf16(cpu) ? SB_BF16 : SB_F32;
  return cpu->compute == SB_COMPUTE_BF16 ? SB_BF16 : SB_F32;
}

sb_status sb_cpu_gemm(sb_backend *backend, sb_stream stream, const sb_gemm_args *args) {
  (void)stream;
  sb_cpu *cpu = backend->impl;
  sb_gemm_args g = *args;
  SB_TRY(sb_check_gemm("CPU", &g));
  if (g.m == 0 || g.n == 0) return SB_OK;
  if (g.k == 0) {
    if (!g.add) clear(&g);
    return SB_OK;
  }
  double start = sb_now();
  const sb_dtype type = type_of(cpu, &g);
  const float alpha = (g.scale_a ? *g.scale_a : 1.0f) * (g.scale_b ? *g.scale_b : 1.0f);
  const bool splits = type == SB_F32 && backend->split_f32 && g.a.dtype == SB_F32 &&
                      g.b.dtype == SB_F32 && sb_cpu_split_pays(&g) && sb_cpu_split_able();
  SB_TRY(
      convert_operand(backend, SB_CPU_SLOT_A, &g.a, type, sb_gemm_a_rows(&g), sb_gemm_a_cols(&g)));
  SB_TRY(
      convert_operand(backend, SB_CPU_SLOT_B, &g.b, type, sb_gemm_b_rows(&g), sb_gemm_b_cols(&g)));
  if (splits)
    SB_TRY(sb_cpu_split_gemm(backend, sb_cpu_threads(backend), &g, alpha));
  else if (type == SB_BF16)
    SB_TRY(sb_cpu_bf16_gemm(cpu->bf16, sb_cpu_threads(backend), &g, alpha));
  else
    SB_TRY(gemm_f32(sb_cpu_threads(backend), &g, alpha));
  backend->gemm_flops += 2.0 * (double)g.m * (double)g.n * (double)g.k;
  backend->gemm_seconds += sb_now() - start;
  return SB_OK;
}
