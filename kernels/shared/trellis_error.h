/* The error of trellis codes: the mean squared error of numbers of a unit Gaussian, coded to
 * nearest with the best scale. Transformed weights are such numbers, times the root mean square of
 * their block (shared/transform.h), so their errors are known before they are coded. */
#ifndef SB_KERNELS_SHARED_TRELLIS_ERROR_H
#define SB_KERNELS_SHARED_TRELLIS_ERROR_H

#include "kernels/shared/grid_types.h"

/* For a trellis and a width of 0 (uncoded) .. 8: measured (bench/bench_trellis.c; a few thousand to
 * 100,000 numbers, so to about 1% for 2^12 states and 3% for more), with the scales of
 * trellis_scale.h. tests/kernels/test_trellis_error.c holds them. Pure. */
static inline double sb_trellis_error(sb_code_kind kind, unsigned width) {
  static const double error[4][SB_WIDTHS] = {
      {0, 0.267, 0.0690, 0.0181, 0.00463, 0.00126, 0.000352, 0.0000970, 0.0000284},
      {0, 0.269, 0.0687, 0.0177, 0.00452, 0.00120, 0.000335, 0.0000930, 0.0000255},
      {0, 0.269, 0.0682, 0.0176, 0.00445, 0.00119, 0.000330, 0.0000930, 0.0000255},
      {0, 0.269, 0.0685, 0.0174, 0.00440, 0.00115, 0.000305, 0.0000800, 0.0000210}};
  return error[kind - SB_TRELLIS_12][width];
}

#endif
