/* Exact sums of second moments, and their factors.
 *
 * An exact sum is int64[2] on the device: the two limbs of mpi/exact.h, normalised. What one call
 * adds to it depends on x alone: a number, times 2^exponent, rounded once to a multiple of 2^-80.
 * So sums do not depend on the order of calls. SB_ERR_NUMERIC, from the call or from the next sync,
 * for NaN, infinity and sums beyond 2^30; the sums are unspecified then. */
#ifndef SB_KERNELS_OPS_MOMENTS_H
#define SB_KERNELS_OPS_MOMENTS_H

#include "kernels/factor.h"
#include "kernels/ops/common.h"
#include "kernels/shared/grams.h"

#define SB_MOMENTS_OPS(OP)                                                                         \
  OP(add_grams)                                                                                    \
  OP(add_squares)                                                                                  \
  OP(add_multiples)                                                                                \
  OP(factor_moments)

/* sums[sb_grams_count(cols, block_cols)] (shared/grams.h) += X_j' X_j for every block column j of
 * x[tokens, cols], an operand. */
typedef sb_status sb_add_grams_fn(sb_backend *, sb_stream, int64_t *sums, const void *x,
                                  size_t tokens, size_t cols, size_t block_cols, int exponent);
/* sums[cols] += the sum of y[t][c]^2 over tokens; y [tokens, cols] is an operand. */
typedef sb_status sb_add_squares_fn(sb_backend *, sb_stream, int64_t *sums, const void *y,
                                    size_t tokens, size_t cols, int exponent);

/* Sums of whole multiples of a quantum, a power of two, one int64 each: sums[k] += x[k] / quantum,
 * rounded; x[count - 1 - k] where `reversed`. SB_ERR_NUMERIC, from the call or from the next sync,
 * where one is NaN or 2^50 and more. */
typedef sb_status sb_add_multiples_fn(sb_backend *, sb_stream, int64_t *sums, const float *x,
                                      size_t count, double quantum, bool reversed);
/* The factors of `count` jobs (kernels/factor.h). The outcome of each is in the job; the status is
 * an error of the device or of its memory. Waits. Memory: 8 n^2 bytes for a job at work, of which
 * the CPU has one per thread. O(n^3) each. */
typedef sb_status sb_factor_moments_fn(sb_backend *, sb_stream, sb_factor_job *jobs, size_t count);

#endif
