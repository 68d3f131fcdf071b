/* One step of a sum of whole multiples of a quantum, which is exact and so in no order; for C and
 * CUDA C++. */
#ifndef SB_KERNELS_SHARED_MULTIPLE_H
#define SB_KERNELS_SHARED_MULTIPLE_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/device.h"

/* *sum += x * scale, rounded to a whole number; scale is the inverse of the quantum, a power of
 * two. False, and *sum as it was, where that is 2^50 or more, or no number: of 2^12 that fit the
 * sum does too. */
SB_HOST_DEVICE static inline bool sb_add_multiple(int64_t *sum, float x, double scale) {
  const double multiple = (double)x * scale;
  const bool fits = fabs(multiple) < 0x1p50; /* NaN does not */
  *sum += fits ? (int64_t)rint(multiple) : 0;
  return fits;
}

#endif
