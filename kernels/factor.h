/* The factor of second moments that error-compensated rounding needs (round_columns in
 * kernels/ops/round.h). For the inputs x of a matrix,
 *
 *   H = sum over calibration tokens of x x'
 *   U' U = (H + damping)^-1, U upper triangular: the factor
 *
 * This header has the rules that all ways to factorise share, and the way by LAPACK. A backend
 * factorises moments in its own memory (factor_moments); quant/factor_scalapack.h factorises
 * moments that are spread over ranks. All functions are local. */
#ifndef SB_KERNELS_FACTOR_H
#define SB_KERNELS_FACTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/device.h"
#include "base/status.h"

typedef struct sb_factor_repair {
  size_t dead;    /* number of inputs that were 0 for all tokens */
  double damping; /* added to the diagonal, as a share of its mean */
  double mean;    /* mean of the diagonal; replaces the elements of dead inputs before damping */
  bool single;    /* factorised in single precision */
} sb_factor_repair;

/* Moments to factorise, and the outcome. Pointers are device memory of a backend. */
typedef struct sb_factor_job {
  size_t n;
  void *sums;     /* int64 [n, n], symmetric: the moments in multiples of `quantum`; destroyed */
  double quantum; /* a power of 2 */
  double damping; /* least damping, as a share of the mean of the diagonal */
  float *factor;  /* [n, n]: the result, zeros below the diagonal */
  float *kept;    /* [n, n]: the moments as factorised, with repairs and damping; or NULL */
  sb_factor_repair repair;
  sb_status status; /* SB_ERR_NUMERIC if H is not finite or cannot be factorised */
  char message[160];
} sb_factor_job;

/* Sets dead elements of the diagonal [n] of H to the mean of all, and begins *repair.
 * SB_ERR_NUMERIC if the diagonal is not finite. */
sb_status sb_factor_mend(double *diagonal, size_t n, sb_factor_repair *repair);

/* Tries to factorise with `added` on the diagonal; *done tells success. An error ends the search
 * for a damping. */
typedef sb_status (*sb_factor_attempt)(void *context, double added, bool *done);
/* Tries the least damping, then ten times as much per attempt until H is positive definite, at most
 * eight attempts. *repair, which sb_factor_mend began, gets the damping. SB_ERR_NUMERIC if none is
 * enough. */
sb_status sb_factor_damp(double least, sb_factor_attempt attempt, void *context,
                         sb_factor_repair *repair);

/* The value, in single precision, that an element of the diagonal had when it was factorised. */
SB_HOST_DEVICE static inline float sb_factor_damped(float element, const sb_factor_repair *repair) {
  return (float)((element == 0 ? repair->mean : (double)element) + repair->damping * repair->mean);
}

/* Computes factor [n, n] by LAPACK in double precision. `h` [n, n] is symmetric, in host memory;
 * its dead diagonal elements are mended in place. Memory: another h. O(n^3), threads as OpenMP
 * allows. */
sb_status sb_factor_lapack(float *factor, double *h, size_t n, double least_damping,
                           sb_factor_repair *repair);

/* Converts int64 multiples of a quantum to doubles, in place. */
void sb_factor_real(void *sums, size_t count, double quantum);

#endif
