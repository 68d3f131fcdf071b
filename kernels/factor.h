/* The factor of second moments that error-compensated rounding works with (kernels/backend.h:
 * round_columns). H = sum over calibration tokens of x x' for the inputs x of a matrix; the factor
 * is the upper triangular U with U' U = (H + damping)^-1.
 *
 * What all ways to make it have in common is here, and the one of a processor. Others:
 * factor_moments of a backend, which has the moments, and quant/factor_scalapack.h, for moments
 * spread over ranks. All functions are local. */
#ifndef SB_KERNELS_FACTOR_H
#define SB_KERNELS_FACTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/device.h"
#include "base/status.h"

typedef struct sb_factor_repair {
  size_t dead;    /* inputs that were 0 for all tokens */
  double damping; /* what was added to the diagonal, as a share of its mean */
  double mean;    /* of the diagonal: what a dead input's element was set to before that */
  bool single;    /* factorised in single precision */
} sb_factor_repair;

/* Moments to factorise, and what became of them. Pointers are device memory of a backend. */
typedef struct sb_factor_job {
  size_t n;
  void *sums;     /* int64 [n, n], symmetric: the moments in multiples of `quantum`; lost */
  double quantum; /* a power of 2 */
  double damping; /* the least, as a share of the mean diagonal */
  float *factor;  /* [n, n]: the result, zeros below the diagonal */
  float *kept;    /* [n, n]: the moments as they were factorised, damping and all; or NULL */
  sb_factor_repair repair;
  sb_status status; /* SB_ERR_NUMERIC where H is not finite or cannot be factorised */
  char message[160];
} sb_factor_job;

/* Gives dead elements of the diagonal [n] of H the mean of all, and begins *repair. SB_ERR_NUMERIC
 * when it is not finite. */
sb_status sb_factor_mend(double *diagonal, size_t n, sb_factor_repair *repair);

/* Tries to factorise with `added` on the diagonal; *done says whether it could. An error ends the
 * search for a damping. */
typedef sb_status (*sb_factor_attempt)(void *context, double added, bool *done);
/* Tries the least damping, and ten times that as often as it takes to make H positive definite,
 * eight times in all; *repair, which sb_factor_mend began, says what it took. SB_ERR_NUMERIC when
 * nothing helps. */
sb_status sb_factor_damp(double least, sb_factor_attempt attempt, void *context,
                         sb_factor_repair *repair);

/* An element of the diagonal of the moments, in single precision, as it was factorised. */
SB_HOST_DEVICE static inline float sb_factor_damped(float element, const sb_factor_repair *repair) {
  return (float)((element == 0 ? repair->mean : (double)element) + repair->damping * repair->mean);
}

/* By LAPACK, in double precision: factor [n, n]. `h` [n, n], symmetric, in host memory; its dead
 * diagonal elements are mended. Memory: another h. O(n^3), threads as OpenMP allows. */
sb_status sb_factor_lapack(float *factor, double *h, size_t n, double least_damping,
                           sb_factor_repair *repair);

/* Multiples of a quantum become the numbers they stand for, in the same memory. */
void sb_factor_real(void *sums, size_t count, double quantum);

#endif
