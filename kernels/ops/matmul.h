/* Products of dense matrices. */
#ifndef SB_KERNELS_OPS_MATMUL_H
#define SB_KERNELS_OPS_MATMUL_H

#include "kernels/ops/common.h"

#define SB_MATMUL_OPS(OP) OP(gemm)

/* A matrix as it lies in memory, and whether a product reads its transpose. */
typedef struct sb_matrix_view {
  const void *data;
  sb_dtype dtype;
  size_t ld; /* length of a row in memory */
  bool transposed;
} sb_matrix_view;

static inline sb_matrix_view sb_view(const void *data, sb_dtype dtype, size_t ld) {
  const sb_matrix_view view = {data, dtype, ld, false};
  return view;
}
static inline sb_matrix_view sb_view_transposed(const void *data, sb_dtype dtype, size_t ld) {
  const sb_matrix_view view = {data, dtype, ld, true};
  return view;
}

/* C[m,n] = op(A) op(B), or += if `add`. op(A) is [m,k]: A lies as [m,k], or as [k,m] if transposed.
 * op(B) is [k,n] likewise. A and B are f32, f16 or bf16, and are converted to operands. C is f32,
 * with row length ldc. */
typedef struct sb_gemm_args {
  size_t m, n, k;
  sb_matrix_view a, b;
  void *c;
  sb_dtype c_dtype;
  size_t ldc;
  bool add;
} sb_gemm_args;

/* The product of `args`, accumulated in f32. O(m n k). */
typedef sb_status sb_gemm_fn(sb_backend *, sb_stream, const sb_gemm_args *args);

#endif
