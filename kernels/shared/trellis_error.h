/* The error of trellis codes: the mean squared error of numbers of a unit Gaussian, coded to
 * nearest with the best scale. Transformed weights are such numbers, times the root mean square of
 * their block (shared/transform.h), so their errors are known before they are coded. */
#ifndef SB_KERNELS_SHARED_TRELLIS_ERROR_H
#define SB_KERNELS_SHARED_TRELLIS_ERROR_H

#include "kernels/shared/grid_types.h"

/* For a trellis and a width of 0 (uncoded) .. 8: measured on 51,200 numbers for 2^12 states, with
 * the scales of trellis_scale.h; the others by their ratios on 16,384 of them
 * (bench/bench_trellis.c). Good to about 1%, from 6 bits on to 20%, since numbers far out count
 * most there. tests/kernels/test_trellis_error.c holds them. Pure. */
static inline double sb_trellis_error(sb_code_kind kind, unsigned width) {
  static const double error[4][SB_WIDTHS] = {
      {0, 0.267, 0.0690, 0.0181, 0.00463, 0.00126, 0.000352, 0.0000970, 0.0000284},
      {0, 0.272, 0.0690, 0.0177, 0.00454, 0.00121, 0.000329, 0.0000920, 0.0000234},
      {0, 0.272, 0.0679, 0.0176, 0.00446, 0.00120, 0.000330, 0.0000980, 0.0000270},
      {0, 0.270, 0.0679, 0.0173, 0.00444, 0.00116, 0.000307, 0.0000840, 0.0000216}};
  return error[kind - SB_TRELLIS_12][width];
}

#endif
