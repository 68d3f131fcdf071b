#include "mpi/exact.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "base/trace.h"
#include "mpi/large.h"
#include "mpi/world.h"

enum { LOW_BITS = 48, HIGH_LIMIT_BITS = 62, MAX_RANKS = 1 << 15 };

#define LOW_MASK   ((INT64_C(1) << LOW_BITS) - 1)
#define HIGH_LIMIT (INT64_C(1) << HIGH_LIMIT_BITS)

_Static_assert(sizeof(sb_exact) == 2 * sizeof(int64_t), "sums travel as pairs of int64");

void sb_exact_normalise(sb_exact *sum) {
  sum->high += sum->low >> LOW_BITS; /* arithmetic shift: floor */
  sum->low &= LOW_MASK;
}

/* mantissa * 2^shift, rounded to the nearest integer, ties to even;
 * mantissa < 2^53, shift <= 57. */
static __int128 scaled(uint64_t mantissa, int shift) {
  uint64_t whole, rest, half;
  if (shift >= 0) return (__int128)mantissa << shift;
  if (shift < -54) return 0;
  whole = mantissa >> -shift;
  rest = mantissa & ((UINT64_C(1) << -shift) - 1);
  half = UINT64_C(1) << (-shift - 1);
  return (__int128)(whole + (rest > half || (rest == half && (whole & 1))));
}

sb_status sb_exact_add(sb_exact *sum, double value) {
  uint64_t bits, mantissa;
  int exponent;
  __int128 fixed;
  sb_exact next;
  memcpy(&bits, &value, sizeof bits);
  exponent = (int)(bits >> 52 & 0x7ff);
  mantissa = bits & ((UINT64_C(1) << 52) - 1);
  if (exponent == 0x7ff)
    return sb_fail(SB_ERR_NUMERIC,
                   "a sum over sequences met %f; check the model for NaN or infinity", value);
  if (exponent > 0)
    mantissa |= UINT64_C(1) << 52;
  else
    exponent = 1;
  /* value = mantissa * 2^(exponent - 1075); at 2^30 the shift is 1053 - 1075 + 80 = 58 */
  if (exponent < 1053) {
    fixed = scaled(mantissa, exponent - 1075 + SB_EXACT_FRACTION);
    if (bits >> 63) fixed = -fixed;
    next.high = sum->high + (int64_t)(fixed >> LOW_BITS);
    next.low = sum->low + (int64_t)(fixed & LOW_MASK);
    sb_exact_normalise(&next);
    if (next.high > -HIGH_LIMIT && next.high < HIGH_LIMIT) {
      *sum = next;
      return SB_OK;
    }
  }
  return sb_fail(SB_ERR_NUMERIC,
                 "a sum over sequences reached %g + %g, beyond the limit of 2^30 for exact sums",
                 sb_exact_value(sum), value);
}

sb_status sb_exact_unit(double largest, MPI_Comm comm, double *unit) {
  enum { BIAS = 2000 }; /* above the least exponent of a double */
  int exponent = 0;
  uint64_t most = 0;
  frexp(largest, &exponent);
  if (largest != 0) most = (uint64_t)(exponent + BIAS);
  SB_TRY(sb_mpi_max_u64(&most, 1, comm));
  *unit = most ? ldexp(1, (int)most - BIAS) : 1;
  return SB_OK;
}

double sb_exact_value(const sb_exact *sum) {
  const __int128 fixed = (__int128)sum->high * ((__int128)1 << LOW_BITS) + sum->low;
  /* The conversion rounds to nearest even; the power of two is exact, since a non-zero result is at
   * least 2^-80. */
  return ldexp((double)fixed, -SB_EXACT_FRACTION);
}

/* Whether adding the ranks' sums could leave the range: the same answer on all ranks. */
static sb_status check_range(const sb_exact *sums, size_t count, MPI_Comm comm) {
  uint64_t largest = 0, total;
  int size;
  SB_MPI(MPI_Comm_size(comm, &size));
  if (size > MAX_RANKS)
    return sb_fail(SB_ERR_UNSUPPORTED, "exact sums over %d ranks: the limit is %d", size,
                   MAX_RANKS);
  for (size_t i = 0; i < count; i++) {
    const int64_t high = sums[i].high;
    const uint64_t magnitude = high < 0 ? -(uint64_t)high : (uint64_t)high + 1;
    largest = magnitude > largest ? magnitude : largest;
  }
  total = (largest >> 16) + (largest > 0); /* rounded up, so that 2^15 of them fit */
  SB_TRY(sb_mpi_sum_u64(&total, 1, comm));
  if (total >= (uint64_t)HIGH_LIMIT >> 16)
    return sb_fail(SB_ERR_NUMERIC,
                   "sums over %d ranks reach %g, beyond the limit of 2^30 for exact sums", size,
                   ldexp((double)total, 16 + LOW_BITS - SB_EXACT_FRACTION));
  return SB_OK;
}

sb_status sb_exact_allreduce(sb_exact *sums, size_t count, MPI_Comm comm) {
  SB_SPAN(SB_TRACE_EXCHANGE, "exact sum", SB_TRACE_NONE);
  SB_TRY(check_range(sums, count, comm));
  SB_TRY(sb_mpi_sum_i64(&sums->high, 2 * count, comm));
  for (size_t i = 0; i < count; i++) sb_exact_normalise(&sums[i]);
  return SB_OK;
}

sb_status sb_exact_total(const double *values, size_t count, MPI_Comm comm, double *sum) {
  sb_exact all = {0};
  double largest = 0, unit = 1;
  sb_status status = SB_OK;
  for (size_t i = 0; i < count; i++) largest = fmax(largest, values[i]);
  SB_TRY(sb_exact_unit(largest, comm, &unit));
  for (size_t i = 0; i < count; i++) SB_THEN(sb_exact_add(&all, values[i] / unit));
  status = sb_comm_agree(comm, status);
  SB_TRY(status);
  SB_TRY(sb_exact_allreduce(&all, 1, comm));
  *sum = sb_exact_value(&all) * unit;
  return SB_OK;
}

sb_status sb_exact_reduce_scatter(sb_exact *out, const sb_exact *sums, const size_t *starts,
                                  MPI_Comm comm) {
  SB_SPAN(SB_TRACE_EXCHANGE, "exact reduce-scatter", SB_TRACE_NONE);
  sb_status status;
  int size, rank;
  size_t *doubled = NULL;
  SB_MPI(MPI_Comm_size(comm, &size));
  SB_MPI(MPI_Comm_rank(comm, &rank));
  SB_TRY(check_range(sums, starts[size], comm));
  SB_GO(sb_comm_agree(
      comm, sb_alloc_raw(&doubled, (size_t)size + 1, sizeof *doubled, "starts of a reduction")));
  for (int r = 0; r <= size; r++) doubled[r] = 2 * starts[r];
  SB_GO(sb_mpi_reduce_scatter_i64((int64_t *)out, (const int64_t *)sums, doubled, comm));
  for (size_t i = 0; i < starts[rank + 1] - starts[rank]; i++) sb_exact_normalise(&out[i]);
done:
  sb_free(&doubled);
  return status;
}
