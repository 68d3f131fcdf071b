/* f32 products out of bf16 ones, on processors with AMX, whose units multiply bf16 some fifteen
 * times as fast as floats. A float is the sum of three bf16 numbers: the nearest one, the next 8
 * bits of the rest, and what is left, at most 8 bits.
 *
 *   a = a1 + a2 + a3,   a b = a1 b1 + (a1 b2 + a2 b1) + (a1 b3 + a2 b2 + a3 b1) + ...
 *
 * What is left out is below 2^-24 of |a b|, which is what a rounded sum of that size may cost, and
 * has either sign. Products of bf16 numbers are exact, sums are floats. So results are as near to
 * the exact ones as those of f32 instructions (tests/kernels/test_cpu_gemm_split.c measures both);
 * their bits differ. (The same idea: Henry, Tang, Heinecke, arXiv 1904.06376; "BF16x9" of cuBLAS.)
 *
 * Numbers below 2^-110 lose digits, because AMX counts what is below 2^-126 as 0. An infinity gives
 * NaN. */
#ifndef SB_KERNELS_CPU_CPU_GEMM_SPLIT_H
#define SB_KERNELS_CPU_CPU_GEMM_SPLIT_H

#include <stdbool.h>

#include "kernels/ops/matmul.h"

/* Whether this build and this processor can, and the system lets them. The same at every call. */
bool sb_cpu_split_able(void);

/* Whether a product is large enough to gain from it. Depends on the shape alone. */
bool sb_cpu_split_pays(const sb_gemm_args *g);

/* The product of kernels/ops/matmul.h times alpha, with A, B and C in f32, and m, n, k > 0. Bits do
 * not depend on `threads`. Takes scratch memory of the backend (SB_CPU_SLOT_A, _B), at most 1.2
 * MiB.
 */
sb_status sb_cpu_split_gemm(sb_backend *backend, int threads, const sb_gemm_args *g, float alpha);

#endif
