/* One f32 matrix product on the calling thread, by the library that measured best: oneDNN if the
 * build has it, else OpenBLAS. docs/measurements/gemm.md has the figures, also for the sizes of the
 * tiles of C. */
#ifndef SB_KERNELS_CPU_CPU_SGEMM_H
#define SB_KERNELS_CPU_CPU_SGEMM_H

#include <stdbool.h>
#include <stddef.h>

#include "kernels/cpu/cpu_gemm_tile.h"

/* The cut that suits the library. oneDNN packs op(B) only if it is a transpose, once per tile; tall
 * tiles then need less packing. */
static inline sb_gemm_cut sb_sgemm_cut(bool trans_b, size_t m, size_t n) {
#ifdef SB_HAVE_ONEDNN
  return trans_b ? sb_gemm_cut_of(m, n, 512, 144) : sb_gemm_cut_of(m, n, 128, 576);
#else
  (void)trans_b;
  return sb_gemm_cut_of(m, n, 256, 576);
#endif
}

/* C = alpha op(A) op(B) + beta C, with op as in kernels/ops/matmul.h; all sizes and row lengths are
 * below 2^31. Runs on one thread if the caller, inside an OpenMP region, has called
 * omp_set_num_threads(1). False if the library fails: its packing buffers find no memory. */
bool sb_cpu_sgemm(bool trans_a, bool trans_b, size_t m, size_t n, size_t k, float alpha,
                  const float *a, size_t lda, const float *b, size_t ldb, float beta, float *c,
                  size_t ldc);

#endif
