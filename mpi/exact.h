/* Sums of doubles that do not depend on order or on the number of ranks.
 *
 * A value is rounded once, to the nearest multiple of 2^-SB_EXACT_FRACTION, into a fixed-point number of two 64-bit
 * limbs: value * 2^SB_EXACT_FRACTION = high * 2^48 + low, 0 <= low < 2^48 after normalisation. From there on all
 * additions are of integers, hence exact and associative. Limbs of up to 2^15 ranks can be added without carries
 * (plain MPI_SUM over int64), and normalised afterwards.
 *
 * Range: |sum| < 2^(62 + 48 - SB_EXACT_FRACTION); a value beyond it, NaN or infinity is refused. */
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

/* sum += value. Local. SB_ERR_NUMERIC for NaN, infinity or a value out of range. */
sb_status sb_exact_add(sb_exact *sum, double value);
/* Brings low back into [0, 2^48). Local; sb_exact_add leaves sums normalised. */
void sb_exact_normalise(sb_exact *sum);
/* The nearest double (one rounding). Local. The sum must be normalised. */
double sb_exact_value(const sb_exact *sum);
/* sums[i] = sum over ranks; normalised. Collective. O(count) integers a rank. */
sb_status sb_exact_allreduce(sb_exact *sums, size_t count, MPI_Comm comm);
/* Rank r receives elements [starts[r], starts[r+1]) of the sums over ranks, normalised. Collective. */
sb_status sb_exact_reduce_scatter(sb_exact *out, const sb_exact *sums, const size_t *starts, MPI_Comm comm);

#endif
