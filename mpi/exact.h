/* Sums of doubles that do not depend on order or on the number of ranks.
 *
 * A value is rounded once, to the nearest multiple of 2^-SB_EXACT_FRACTION (ties to even;
 * magnitudes of at most half that step become 0), into a fixed-point number of two 64-bit limbs:
 *
 *   value * 2^SB_EXACT_FRACTION = high * 2^48 + low,   0 <= low < 2^48 after normalisation
 *
 * All additions after that are of integers, hence exact and associative. Limbs of up to 2^15 ranks
 * can be added without carries (plain MPI_SUM over int64) and normalised afterwards.
 *
 * Range: `|sum| < 2^(62 + 48 - SB_EXACT_FRACTION) = 2^30`, for every partial sum too. Over ranks,
 * the largest magnitudes that the ranks hold in any of their sums, added up, stay below the same
 * limit. Larger values, NaN and infinity are refused with SB_ERR_NUMERIC. */
#ifndef SB_MPI_EXACT_H
#define SB_MPI_EXACT_H

#include <mpi.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

enum { SB_EXACT_FRACTION = 80 };

typedef struct sb_exact {
  int64_t high;
  int64_t low;
} sb_exact;

/* sum += value. Local. SB_ERR_NUMERIC for NaN, infinity or a value or sum out of range; the sum is
 * then unchanged. */
sb_status sb_exact_add(sb_exact *sum, double value);
/* *unit = the power of two at or above the largest magnitude that any rank passes (finite); 1 where
 * all are 0. Values divided by it, which is exact, are within 1. So sums of up to 2^29 of them stay
 * in range, and the fixed point rounds away at most 2^-80 of the largest. Collective. */
sb_status sb_exact_unit(double largest, MPI_Comm comm, double *unit);
/* Brings low back into [0, 2^48). Local; sb_exact_add leaves sums normalised. */
void sb_exact_normalise(sb_exact *sum);
/* The nearest double (one rounding, ties to even). Local. The sum must be normalised. */
double sb_exact_value(const sb_exact *sum);
/* sums[i] = sum over ranks; normalised. Collective; the sums must be normalised. All ranks find the
 * same sums out of range, and then leave them as they were. O(count) integers per rank. */
sb_status sb_exact_allreduce(sb_exact *sums, size_t count, MPI_Comm comm);
/* *sum = the sum over all ranks of their `count` values, each at least 0 and finite: one exact sum
 * in units of the largest (sb_exact_unit). SB_ERR_NUMERIC for others. Collective; counts may
 * differ. */
sb_status sb_exact_total(const double *values, size_t count, MPI_Comm comm, double *sum);
/* Rank r receives elements [starts[r], starts[r+1]) of the sums over ranks, normalised. Collective;
 * errors as above. */
sb_status sb_exact_reduce_scatter(sb_exact *out, const sb_exact *sums, const size_t *starts,
                                  MPI_Comm comm);

#endif
