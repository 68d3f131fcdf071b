#include "kernels/cpu/cpu_pack.h"

#include "kernels/cpu/vec.h"

void sb_cpu_pack_rows(float *dst, size_t padded, const float *src, size_t stride, size_t rows,
                      size_t d) {
  for (size_t i = 0; i < rows; i++) {
    memcpy(dst + i * padded, src + i * stride, d * sizeof *dst);
    memset(dst + i * padded + d, 0, (padded - d) * sizeof *dst);
  }
  memset(dst + rows * padded, 0, (SB_CPU_TILE_ROWS - rows) * padded * sizeof *dst);
}

#ifdef __AVX512F__

/* One step of the transposition of 16 x 16: rows i and i + width exchange the lanes that differ in
 * bit `width`. */
SB_INLINE void exchange(sb_vf *low, sb_vf *high, const sb_vi take_low, const sb_vi take_high) {
  const __m512 a = (__m512)*low, b = (__m512)*high;
  *low = (sb_vf)_mm512_permutex2var_ps(a, (__m512i)take_low, b);
  *high = (sb_vf)_mm512_permutex2var_ps(a, (__m512i)take_high, b);
}

void sb_cpu_pack_transpose(float *dst, const float *packed, size_t padded, float scale) {
  static const sb_vi low[4] = {{0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30},
                               {0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29},
                               {0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27},
                               {0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23}};
  static const sb_vi high[4] = {{1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31},
                                {2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31},
                                {4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31},
                                {8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31}};
  sb_vf factor = sb_vf_set(scale);
  for (size_t j = 0; j < padded; j += SB_LANES)
    for (size_t i = 0; i < SB_CPU_TILE_ROWS; i += SB_LANES) {
      sb_vf row[SB_LANES];
#pragma GCC unroll 16
      for (size_t r = 0; r < SB_LANES; r++)
        row[r] = sb_vf_load(packed + (i + r) * padded + j) * factor;
#pragma GCC unroll 4
      for (int step = 0; step < 4; step++)
#pragma GCC unroll 16
        for (int r = 0; r < SB_LANES; r++)
          if (!(r & (1 << step))) exchange(&row[r], &row[r + (1 << step)], low[step], high[step]);
#pragma GCC unroll 16
      for (size_t r = 0; r < SB_LANES; r++)
        sb_vf_store(dst + (j + r) * SB_CPU_TILE_ROWS + i, row[r]);
    }
}

#else

void sb_cpu_pack_transpose(float *dst, const float *packed, size_t padded, float scale) {
  for (size_t j = 0; j < padded; j++)
    for (size_t i = 0; i < SB_CPU_TILE_ROWS; i++)
      dst[j * SB_CPU_TILE_ROWS + i] = scale * packed[i * padded + j];
}

#endif
