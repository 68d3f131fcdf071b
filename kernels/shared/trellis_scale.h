/* The factors and scales of trellis-coded blocks (trellis.h, transform.h), for C and CUDA C++: fp16
 * numbers other than 0, chosen from sums of squares.
 *
 * Sums are in double and cut by shape, so that every device gives the same bits:
 * - of a row of a matrix: sixteen sums, of the columns c % 16, added as grid.h says ("Order of
 *   sums");
 * - of a block: each of its patches (windows of at most 128 x 128 at multiples of 128, row-major)
 *   row by row, a row in sixteen sums as above; rows and patches are added in their order. */
#ifndef SB_KERNELS_SHARED_TRELLIS_SCALE_H
#define SB_KERNELS_SHARED_TRELLIS_SCALE_H

#include <math.h>

#include "kernels/shared/grid.h"
#include "kernels/shared/trellis.h"

enum { SB_TRELLIS_PATCH = 128 };

/* A magnitude as fp16, 2^-24 at least and 65504 at most. */
SB_HOST_DEVICE static inline uint16_t sb_trellis_magnitude(float value) {
  const float least = 0x1p-24f, most = 65504.0f;
  return sb_grid_to_fp16(value < least ? least : value > most ? most : value);
}

/* The best scale of a Gaussian block over its root mean square, where levels have a deviation of 1:
 * the wider the codes, the more the distribution's tails count, and the coarser its middle may be.
 * Measured (bench/bench_trellis.c): 0.04 beside it errors are at most 1% larger. Width 0: 1. */
SB_HOST_DEVICE static inline float sb_trellis_gain(sb_code_kind code_kind, unsigned width) {
  static const float own[SB_WIDTHS] = {1.0f,  0.89f, 1.04f, 1.12f, 1.15f,
                                       1.22f, 1.34f, 1.44f, 1.52f},
                     exl3[SB_WIDTHS] = {1.0f,  0.89f, 1.03f, 1.08f, 1.11f,
                                        1.15f, 1.19f, 1.25f, 1.28f};
  return code_kind == SB_TRELLIS_EXL3 ? exl3[width] : own[width];
}

/* The same for the rows of EXL3, whose blocks have scales of 1. Feedback makes targets wider than
 * weights: on two layers of the demo model the divergence of all at 2 bits is 0.0293, 0.0273 and
 * 0.0258 with gains of 1, 1.07 and 1.14. */
SB_HOST_DEVICE static inline float sb_trellis_row_gain(unsigned width) {
  return width >= 1 && width <= 3 ? 1.15f : sb_trellis_gain(SB_TRELLIS_EXL3, width);
}

/* The factor of a row of `cols` weights over their column factors, whose squares sum to `squares`:
 * the root of their root mean square, so that a row's errors and what it adds to others' are
 * balanced: the sum over rows of factor^2 times mean (w / factor)^2 is least. In EXL3, whose S has
 * unit size, the root mean square itself times a gain; `width` is that of the matrix.
 *
 * Kept within 2^-24 .. 65504. A row of zeros has the least: so the errors of other rows, which
 * transforms spread, do not reach it. */
SB_HOST_DEVICE static inline uint16_t sb_trellis_row_factor(sb_code_kind code_kind, unsigned width,
                                                            double squares, size_t cols,
                                                            float sign) {
  const double size = sqrt(squares / (double)cols);
  const uint16_t magnitude = sb_trellis_magnitude(
      code_kind == SB_TRELLIS_EXL3 ? (float)size * sb_trellis_row_gain(width) : (float)sqrt(size));
  return sign < 0.0f ? (uint16_t)(magnitude | 0x8000u) : magnitude;
}

/* The same where the block is rounded with feedback (trellis_round), over its root mean square when
 * its first column is reached: the errors of its own columns are still to be added to it. Measured
 * by the divergence of the demo model at one width; 0.08 beside it costs up to 2%
 * (docs/measurements/trellis-rounding.md). From 5 bits on errors are small, and it is that without
 * feedback. 1 bit: in mixes, where a fifth to a third of the blocks have it
 * (docs/measurements/trellis.md). */
SB_HOST_DEVICE static inline float sb_trellis_feedback_gain(unsigned width) {
  static const float gains[] = {1.0f, 1.45f, 1.2f, 1.19f, 1.24f};
  return width < sizeof gains / sizeof *gains ? gains[width]
                                              : sb_trellis_gain(SB_TRELLIS_12, width);
}

/* The scale of a block of n elements whose squares sum to `squares`. EXL3 has no scales of blocks:
 * 1. */
SB_HOST_DEVICE static inline uint16_t sb_trellis_scale_with(sb_code_kind code_kind, unsigned width,
                                                            float gain, double squares, size_t n) {
  const sb_trellis t = sb_trellis_of(code_kind, width);
  if (t.exl3) return sb_trellis_magnitude(1.0f);
  return sb_trellis_magnitude((float)sqrt(squares / (double)n) * gain / sb_trellis_unit(&t));
}
SB_HOST_DEVICE static inline uint16_t sb_trellis_scale(sb_code_kind code_kind, unsigned width,
                                                       double squares, size_t n) {
  return sb_trellis_scale_with(code_kind, width, sb_trellis_gain(code_kind, width), squares, n);
}

#endif
