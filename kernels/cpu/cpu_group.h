/* Groups on the CPU: a row of a block as floats, and what its grid is chosen from. Shared by cpu_quantize.c, cpu_moves.c
 * and kernels/blockrow.c, so that all of them see the same bits. Sums run in 16 fixed lanes, whatever the vector width of
 * the processor. */
#ifndef SB_KERNELS_CPU_CPU_GROUP_H
#define SB_KERNELS_CPU_CPU_GROUP_H

#include "kernels/grid.h"

enum { SB_LANES = 16 };

/* out[0..padded) = n weights from element `at` of w, then zeros up to a multiple of SB_LANES; returns that multiple. */
size_t sb_cpu_load_group(float *out, const void *w, sb_dtype dtype, size_t at, size_t n);

/* `one_bit`: also fill what only 1-bit grids need. `w` holds n weights, zero-padded to `padded`. */
void sb_cpu_group_range(const float *w, size_t n, size_t padded, bool one_bit, sb_group_range *out);

/* (lane 0 + lane 8) + ... : the fixed order in which lanes are added up. */
static inline float sb_cpu_add_lanes(const float *lanes) {
  float a[8], b[4];
  for (int i = 0; i < 8; i++) a[i] = lanes[i] + lanes[i + 8];
  for (int i = 0; i < 4; i++) b[i] = a[i] + a[i + 4];
  return (b[0] + b[2]) + (b[1] + b[3]);
}

#endif
