/* The factor of second moments that error-compensated rounding works with (kernels/backend.h: round_columns). H = sum over
 * calibration tokens of x x' for the inputs x of a matrix.
 *
 * All functions are local. */
#ifndef SB_QUANT_GPTQ_H
#define SB_QUANT_GPTQ_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"

typedef struct sb_gptq_repair {
  size_t dead;    /* inputs that were 0 for all tokens */
  double damping; /* what was added to the diagonal, as a share of its mean */
  double mean;    /* of the diagonal: what a dead input's element was set to before that */
  bool single;    /* factorised in single precision */
} sb_gptq_repair;

/* factor [n, n], upper triangular, with factor' factor = (H + damping)^-1. `h` [n, n], symmetric, is overwritten. Damping
 * is `least_damping` x mean diagonal, and ten times that as often as it takes to make H positive definite; *repair says
 * what was done. SB_ERR_NUMERIC when H is not finite. O(n^3), threads as OpenMP allows. */
sb_status sb_gptq_factor(float *factor, double *h, size_t n, double least_damping, sb_gptq_repair *repair);

#endif
