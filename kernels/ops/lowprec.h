/* Operands of low-precision training, emulated: what a GEMM in fp8 or fp4 would read. */
#ifndef SB_KERNELS_OPS_LOWPREC_H
#define SB_KERNELS_OPS_LOWPREC_H

#include "kernels/lowprec.h"
#include "kernels/ops/common.h"

#define SB_LOWPREC_OPS(OP) OP(round_lowprec)

typedef struct sb_lowprec_args {
  sb_lowprec_rule rule;
  size_t rows, cols; /* rows are tokens (X, dY) or outputs (W) */
  const void *src;   /* [rows, cols]; f32, f16 or bf16 */
  sb_dtype src_dtype;
  void *dst; /* [rows, cols]; f32, f16 or bf16; may be src (in place) if the types are equal */
  sb_dtype dst_dtype;
  uint64_t key; /* of stochastic rounding: element (r, c) takes its random bits from (key, r, c)
                   alone. sb_lowprec_key makes keys */
  float *tensor_scale; /* [1] or NULL. If not NULL, it gets the scale of the whole matrix, and dst
                          lacks this factor: a product's alpha. 1 where a rule has no such scale */
} sb_lowprec_args;

/* dst = src, coded by the rule and decoded again, to the nearest number of dst_dtype; with
 * rule.hadamard in rotated coordinates, which cancel where both operands of a sum over rows are
 * rotated. The last rows are not rotated if they are fewer than 16. SB_ELEMENT_NONE
 * only rotates and converts.
 *
 * A block that holds a NaN or an infinity becomes NaN throughout, the whole matrix if it has a
 * scale of the tensor: so a failed step is seen. Zeros keep their sign. The same bits on every
 * device. SB_ERR_UNSUPPORTED for other types. O(rows cols). */
typedef sb_status sb_round_lowprec_fn(sb_backend *, sb_stream, const sb_lowprec_args *args);

#endif
