/* bf16 GEMM with f32 accumulation, through oneDNN. Without oneDNN in the build, create says
 * SB_ERR_UNSUPPORTED. */
#ifndef SB_KERNELS_CPU_CPU_GEMM_BF16_H
#define SB_KERNELS_CPU_CPU_GEMM_BF16_H

#include "kernels/ops/matmul.h"

typedef struct sb_cpu_bf16 sb_cpu_bf16;

/* SB_ERR_UNSUPPORTED too where the processor has no way of doing it. */
sb_status sb_cpu_bf16_create(sb_cpu_bf16 **out);
void sb_cpu_bf16_free(sb_cpu_bf16 *bf16); /* NULL is fine */

/* The product of kernels/ops/matmul.h for A and B of bf16, C of f32, m, n, k > 0. Bits do not
 * depend on `threads`. What a shape needs is prepared at its first call and kept. */
sb_status sb_cpu_bf16_gemm(sb_cpu_bf16 *bf16, int threads, const sb_gemm_args *g);

#endif
