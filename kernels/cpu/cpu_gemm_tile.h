/* How C is cut into tiles, each of them one single-threaded library call. The cut follows from the shape
 * alone, so the bits of C do not depend on the number of threads; docs/measurements/gemm.md has the figures
 * behind the sizes. */
#ifndef SB_KERNELS_CPU_CPU_GEMM_TILE_H
#define SB_KERNELS_CPU_CPU_GEMM_TILE_H

#include <stddef.h>

typedef struct sb_gemm_cut {
  size_t tile_m, tile_n;   /* of every tile but the last ones */
  size_t count_m, count_n; /* tiles in each direction */
} sb_gemm_cut;

static inline size_t sb_gemm_pieces(size_t extent, size_t target) {
  size_t pieces = (extent + target / 2) / target;
  return pieces > 0 ? pieces : 1;
}

/* Tiles of about target_m x target_n; where that gives fewer than four, or an odd number below eight, the
 * larger side is halved while a tile keeps half of the target's area. Sides are multiples of 16, the
 * libraries' register tiles. */
static inline sb_gemm_cut sb_gemm_cut_of(size_t m, size_t n, size_t target_m, size_t target_n) {
  size_t pm = sb_gemm_pieces(m, target_m), pn = sb_gemm_pieces(n, target_n);
  while ((pm * pn < 4 || (pm * pn < 8 && pm * pn % 2 != 0)) &&
         (m / pm) * (n / pn) >= target_m * target_n / 2) {
    if (n / pn >= m / pm)
      pn *= 2;
    else
      pm *= 2;
  }
  sb_gemm_cut cut;
  cut.tile_m = ((m + pm - 1) / pm + 15) / 16 * 16;
  cut.tile_n = ((n + pn - 1) / pn + 15) / 16 * 16;
  cut.count_m = (m + cut.tile_m - 1) / cut.tile_m;
  cut.count_n = (n + cut.tile_n - 1) / cut.tile_n;
  return cut;
}

#endif
