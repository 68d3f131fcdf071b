/* One step of an exact sum (mpi/exact.h has the form), for C and CUDA C++. */
#ifndef SB_KERNELS_SHARED_EXACT_ADD_H
#define SB_KERNELS_SHARED_EXACT_ADD_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/device.h"

enum { SB_EXACT_LOW_BITS = 48 /* of the lower limb; the upper one counts 2^-32 */ };

/* sum[0..1] += x * scale * 2^-32, rounded once. False if the result does not fit or x is
 * NaN; sum is unspecified then. `scale` is a power of two, so the product is exact, and so is its
 * distance from the nearest whole number. */
SB_HOST_DEVICE static inline bool sb_exact_add_float(int64_t sum[2], float x, double scale) {
  const double value = (double)x * scale, whole = rint(value);
  const bool fits = fabs(value) < 0x1p62; /* NaN does not */
  const int64_t low = sum[1] + (int64_t)(fits ? rint((value - whole) * 0x1p48) : 0.0);
  const int64_t high = sum[0] + (int64_t)(fits ? whole : 0.0) + (low >> SB_EXACT_LOW_BITS);
  sum[0] = high;
  sum[1] = low & ((INT64_C(1) << SB_EXACT_LOW_BITS) - 1);
  return fits & (high < INT64_C(1) << 62) & (high > -(INT64_C(1) << 62));
}

#endif
