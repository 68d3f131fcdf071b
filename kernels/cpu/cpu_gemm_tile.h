/* The cut of C into tiles. Each tile is one single-threaded library call. The cut follows from the
 * shape alone, so the bits of C do not depend on the number of threads. docs/measurements/gemm.md
 * has the figures behind the sizes. */
#ifndef SB_KERNELS_CPU_CPU_GEMM_TILE_H
#define SB_KERNELS_CPU_CPU_GEMM_TILE_H

#include <stddef.h>

typedef struct sb_gemm_cut {
  size_t tile_m, tile_n;   /* sides of a tile; the last ones are smaller */
  size_t count_m, count_n; /* tiles in each direction */
} sb_gemm_cut;

/* The number of pieces of about `target` that `extent` is cut into. */
static inline size_t sb_gemm_pieces(size_t extent, size_t target) {
  size_t pieces = (extent + target / 2) / target;
  return pieces > 0 ? pieces : 1;
}

/* Cuts C into tiles of about target_m x target_n. Fewer than 16 tiles are made an even number,
 * because nodes have even numbers of cores. They are at least four, as long as a tile keeps half of
 * the target's area. Sides are multiples of 16, like the register tiles of the libraries. */
static inline sb_gemm_cut sb_gemm_cut_of(size_t m, size_t n, size_t target_m, size_t target_n) {
  size_t pm = sb_gemm_pieces(m, target_m), pn = sb_gemm_pieces(n, target_n);
  if (pm * pn >= 64 && target_n < 512) pn = sb_gemm_pieces(n, 2 * target_n);
  if (pm * pn < 16 && pm * pn % 2 != 0) {
    if (pm > 1)
      pm--;
    else if (pn > 1)
      pn--;
  }
  while (pm * pn < 4 && (m / pm) * (n / pn) >= target_m * target_n / 2) {
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
