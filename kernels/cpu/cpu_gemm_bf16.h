/* bf16 GEMM with f32 accumulation, through oneDNN. Without oneDNN in the build, create says
 * SB_ERR_UNSUPPORTED. */
#ifndef SB_KERNELS_CPU_CPU_GEMM_BF16_H
#define SB_KERNELS_CPU_CPU_GEMM_BF16_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

typedef struct sb_cpu_bf16 sb_cpu_bf16;

/* SB_ERR_UNSUPPORTED too where the processor has no way of doing it. */
sb_status sb_cpu_bf16_create(sb_cpu_bf16 **out);
void sb_cpu_bf16_free(sb_cpu_bf16 *bf16); /* NULL is fine */

/* C = alpha op(A) op(B) + beta C as in kernels/backend.h, A and B bf16, C f32; m, n, k > 0. Bits
 * independent of `threads`. What a shape needs is prepared at its first call and kept. */
sb_status sb_cpu_bf16_gemm(sb_cpu_bf16 *bf16, int threads, bool trans_a, bool trans_b, size_t m,
                           size_t n, size_t k, float alpha, const uint16_t *a, size_t lda,
                           const uint16_t *b, size_t ldb, float beta, float *c, size_t ldc);

#endif
