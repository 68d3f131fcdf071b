/* Transforms of trellis-coded blocks (kernels/shared/transform.h), patch by patch, with the bits
 * that every device gives. A patch is a window of a block, of at most 128 x 128, at multiples of
 * 128 within it: runs of the transforms and tiles of codes (kernels/shared/trellis.h) lie inside
 * one. All functions run in one thread. */
#ifndef SB_KERNELS_CPU_CPU_TRANSFORM_H
#define SB_KERNELS_CPU_CPU_TRANSFORM_H

#include "base/dtype.h"
#include "kernels/shared/transform.h"
#include "kernels/shared/trellis_scale.h"

/* Floats from a row to the next: at a distance of 128, sixteen columns of all rows would share an
 * eighth of the first cache. */
enum { SB_PATCH_LD = SB_TRELLIS_PATCH + 16 };

/* Row r begins at x[r * SB_PATCH_LD]. */
typedef struct sb_cpu_patch {
  size_t rows, cols;
  float x[SB_TRELLIS_PATCH * SB_PATCH_LD];
} sb_cpu_patch;

/* Where the patch lies: element (r, c) is number first + r * ld + c of a matrix of a weight type;
 * its factors are numbers r and c of row_factors and col_factors, fp16 at any alignment. */
typedef struct sb_cpu_patch_place {
  size_t first, ld;
  const void *row_factors, *col_factors;
} sb_cpu_patch_place;

/* Transforms the runs of x [n] in place. O(n log n). */
void sb_cpu_hadamard_runs(float *x, size_t n);

/* Fills the patch, whose rows and cols are set, with S of the weights w. */
void sb_cpu_patch_forward(sb_cpu_patch *, const void *w, sb_dtype dtype,
                          const sb_cpu_patch_place *);
/* Writes the weights that the patch's S stands for to `out`. The patch is used up. */
void sb_cpu_patch_back(sb_cpu_patch *, void *out, sb_dtype dtype, const sb_cpu_patch_place *);
/* The sum of its squares, in the order of kernels/shared/trellis_scale.h. */
double sb_cpu_patch_squares(const sb_cpu_patch *);

/* The sum of squares of n weights over their column factors, from element `first` of w on: what
 * sb_trellis_row_factor takes. */
double sb_cpu_row_squares(const void *w, sb_dtype dtype, size_t first, size_t n,
                          const uint16_t *col_factors);

#endif
