/* Products of dense matrices. */
#ifndef SB_KERNELS_OPS_MATMUL_H
#define SB_KERNELS_OPS_MATMUL_H

#include "kernels/ops/common.h"

#define SB_MATMUL_OPS(OP) OP(gemm)

/* C[m,n] = alpha op(A) op(B) + beta C; op is transposition where asked: A is [m,k], or [k,m] when
 * trans_a; B is [k,n], or [n,k] when trans_b. lda, ldb, ldc are row lengths in memory. Accumulation
 * in f32. */
typedef sb_status sb_gemm_fn(sb_backend *, sb_stream, bool trans_a, bool trans_b, size_t m,
                             size_t n, size_t k, float alpha, const void *a, sb_dtype a_dtype,
                             size_t lda, const void *b, sb_dtype b_dtype, size_t ldb, float beta,
                             void *c, sb_dtype c_dtype, size_t ldc);

#endif
