/* bf16 GEMM with f32 accumulation, by oneDNN. */
#ifndef SB_KERNELS_CPU_CPU_GEMM_BF16_H
#define SB_KERNELS_CPU_CPU_GEMM_BF16_H

#include "kernels/ops/matmul.h"

typedef struct sb_cpu_bf16 sb_cpu_bf16;

/* SB_ERR_UNSUPPORTED if the build has no oneDNN, or oneDNN no bf16 product for this processor. */
sb_status sb_cpu_bf16_create(sb_cpu_bf16 **out);
void sb_cpu_bf16_free(sb_cpu_bf16 *bf16); /* NULL is fine */

/* The product of kernels/ops/matmul.h times alpha, with A and B in bf16, C in f32, and m, n, k > 0.
 * Bits do not depend on `threads`. The first call with a shape prepares a plan, which later calls
 * reuse. */
sb_status sb_cpu_bf16_gemm(sb_cpu_bf16 *bf16, int threads, const sb_gemm_args *g, float alpha);

#endif
