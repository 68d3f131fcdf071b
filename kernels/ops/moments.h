/* Exact sums of second moments, and their factors.
 *
 * An exact sum is int64[2] on the device: the two limbs of mpi/exact.h, normalised. A call adds one
 * number to it, times 2^exponent, rounded once to a multiple of 2^-80. That number depends on x
 * alone, so sums do not depend on the order of calls. SB_ERR_NUMERIC, from the call or from the
 * next sync, for NaN, infinity and sums beyond 2^30; the sums are unspecified then. */
#ifndef SB_KERNELS_OPS_MOMENTS_H
#define SB_KERNELS_OPS_MOMENTS_H

#include "kernels/factor.h"
#include "kernels/ops/common.h"
#include "kernels/shared/grams.h"

#define SB_MOMENTS_OPS(OP)                                                                         \
  OP(add_grams)                                                                                    \
  OP(add_squares)                                                                                  \
  OP(add_variances)                                                                                \
  OP(add_multiples)                                                                                \
  OP(factor_moments)

/* sums[sb_grams_count(cols, block_cols)] (shared/grams.h) += X_j' X_j for every block column j of
 * x[tokens, cols], an operand. */
typedef sb_status sb_add_grams_fn(sb_backend *, sb_stream, int64_t *sums, const void *x,
                                  size_t tokens, size_t cols, size_t block_cols, int exponent);
/* sums[cols] += the sum of y[t][c]^2 over tokens; y [tokens, cols] is an operand. */
typedef sb_status sb_add_squares_fn(sb_backend *, sb_stream, int64_t *sums, const void *y,
                                    size_t tokens, size_t cols, int exponent);
/* sums[cols] += the sum of a (1 - a) over tokens, a = |scale g[t][c]|; g is f32 [tokens, cols].
 * With the gradient of logits, and scale 1 / its own (ops/head.h: xent_back_chunk), a is p, or 1 -
 * p at the target, and both give p (1 - p): the variance of the prediction. */
typedef sb_status sb_add_variances_fn(sb_backend *, sb_stream, int64_t *sums, const float *g,
                                      size_t tokens, size_t cols, float scale, int exponent);

/* sums[k] += x[k] / quantum, rounded to a whole number; x[count - 1 - k] if `reversed`. quantum is
 * a power of two. SB_ERR_NUMERIC, from the call or from the next sync, if a quotient is NaN or has
 * a magnitude of 2^50 or more. */
typedef sb_status sb_add_multiples_fn(sb_backend *, sb_stream, int64_t *sums, const float *x,
                                      size_t count, double quantum, bool reversed);
/* Factorises the moments of `count` jobs (kernels/factor.h). Each job gets its own outcome; the
 * returned status reports errors of the device or of its memory. Waits. O(n^3) per job. Memory:
 * 8 n^2 bytes per job at work; a GPU works on one job at a time, the CPU on one per thread. */
typedef sb_status sb_factor_moments_fn(sb_backend *, sb_stream, sb_factor_job *jobs, size_t count);

#endif
