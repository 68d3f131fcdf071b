/* The error of trellis codes: the mean squared error of numbers of a unit Gaussian, coded to
 * nearest with the best scale. Transformed weights are such numbers, times the root mean square of
 * their block (shared/transform.h), so their errors are known before they are coded. */
#ifndef SB_KERNELS_SHARED_TRELLIS_ERROR_H
#define SB_KERNELS_SHARED_TRELLIS_ERROR_H

#include "kernels/shared/grid_types.h"

/* For a trellis and a width of 0 (uncoded) .. 8. Pure. */
static inline double sb_trellis_error(sb_code_kind kind, unsigned width) {
  static const double of_12[SB_WIDTHS] = {0,       0.2795,  0.0729,   0.0196,  0.0053,
                                          0.00129, 0.00032, 0.000077, 0.000019};
  static const double of_16[SB_WIDTHS] = {0,       0.274,   0.0689,   0.0175,  0.0046,
                                          0.00112, 0.00027, 0.000067, 0.000016};
  return kind == SB_TRELLIS_12 || kind == SB_TRELLIS_14 ? of_12[width] : of_16[width];
}

#endif
