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

/* The type in which a product multiplies. Sums are f32 always. */
typedef enum sb_gemm_type {
  SB_GEMM_OPERANDS, /* the backend's operands; A and B are converted */
  SB_GEMM_F32,      /* f32, whatever the backend's operands are */
  SB_GEMM_BF16      /* A and B are bf16, and no product of two of their numbers is rounded: by
                       bf16 instructions where the device has fast ones, else as f32. Numbers below
                       2^-126 may count as 0 */
} sb_gemm_type;

/* C[m,n] = s op(A) op(B), or += if `add`. op(A) is [m,k]: A lies as [m,k], or as [k,m] if
 * transposed. op(B) is [k,n] likewise. A and B are f32, f16 or bf16. C is f32, with row length ldc.
 */
typedef struct sb_gemm_args {
  size_t m, n, k;
  sb_matrix_view a, b;
  void *c;
  sb_dtype c_dtype;
  size_t ldc;
  bool add;
  sb_gemm_type type;
  const float *scale_a, *scale_b; /* device [1]; s is their product, each 1 if NULL */
} sb_gemm_args;

/* The product of `args`, accumulated in f32. O(m n k). */
typedef sb_status sb_gemm_fn(sb_backend *, sb_stream, const sb_gemm_args *args);

#endif
