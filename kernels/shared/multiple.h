/* One step of a sum of whole multiples of a quantum, for C and CUDA C++. Such sums are exact, so
 * their order does not matter. */
#ifndef SB_KERNELS_SHARED_MULTIPLE_H
#define SB_KERNELS_SHARED_MULTIPLE_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/device.h"

/* *sum += x * scale, rounded to a whole number. scale is the inverse of the quantum, a power of
 * two. False, with *sum unchanged, if the magnitude of x * scale is 2^50 or more, or x is NaN. The
 * limit lets a sum of 2^12 terms fit. */
SB_HOST_DEVICE static inline bool sb_add_multiple(int64_t *sum, float x, double scale) {
  const double multiple = (double)x * scale;
  const bool fits = fabs(multiple) < 0x1p50; /* NaN does not */
  *sum += fits ? (int64_t)rint(multiple) : 0;
  return fits;
}

#endif
