#include "kernels/cpu/cpu_tile.h"

#include "kernels/cpu/vec.h"

/* Accumulators fill the register file: 6 x 4 vectors of 32 AVX-512 registers, 6 x 2 of 16 AVX
 * registers. */
enum { ROWS = 6, VECTORS = SB_LANES == 16 ? 4 : 2 };

/* Computes rows x vectors of C. Both counts are constants after inlining, so acc stays in
 * registers. */
SB_INLINE void micro(const int rows, const int vectors, size_t k, const float *a, size_t a_row,
                     size_t a_col, const float *b, size_t ldb, float *c, size_t ldc, bool add) {
  sb_vf acc[6][4];
#pragma GCC unroll 6
  for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
    for (int j = 0; j < vectors; j++) acc[i][j] = sb_vf_set(0.0f);
  for (size_t p = 0; p < k; p++) {
    sb_vf row[4];
#pragma GCC unroll 4
    for (int j = 0; j < vectors; j++) row[j] = sb_vf_load(b + p * ldb + (size_t)j * SB_LANES);
#pragma GCC unroll 6
    for (int i = 0; i < rows; i++) {
      sb_vf item = sb_vf_set(a[(size_t)i * a_row + p * a_col]);
#pragma GCC unroll 4
      for (int j = 0; j < vectors; j++) acc[i][j] += item * row[j];
    }
  }
#pragma GCC unroll 6
  for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
    for (int j = 0; j < vectors; j++) {
      float *to = c + (size_t)i * ldc + (size_t)j * SB_LANES;
      sb_vf_store(to, add ? sb_vf_load(to) + acc[i][j] : acc[i][j]);
    }
}

/* A column of `vectors` vectors, all m rows. */
SB_INLINE void panel(const int vectors, size_t m, size_t k, const float *a, size_t a_row,
                     size_t a_col, const float *b, size_t ldb, float *c, size_t ldc, bool add) {
  size_t i = 0;
  for (; i + ROWS <= m; i += ROWS)
    micro(ROWS, vectors, k, a + i * a_row, a_row, a_col, b, ldb, c + i * ldc, ldc, add);
  a += i * a_row;
  c += i * ldc;
  switch (m - i) {
  case 1:
    micro(1, vectors, k, a, a_row, a_col, b, ldb, c, ldc, add);
    break;
  case 2:
    micro(2, vectors, k, a, a_row, a_col, b, ldb, c, ldc, add);
    break;
  case 3:
    micro(3, vectors, k, a, a_row, a_col, b, ldb, c, ldc, add);
    break;
  case 4:
    micro(4, vectors, k, a, a_row, a_col, b, ldb, c, ldc, add);
    break;
  case 5:
    micro(5, vectors, k, a, a_row, a_col, b, ldb, c, ldc, add);
    break;
  default:
    break;
  }
}

void sb_cpu_tile(size_t m, size_t n, size_t k, const float *a, size_t a_row, size_t a_col,
                 const float *b, size_t ldb, float *c, size_t ldc, bool add) {
  size_t j = 0;
  for (; j + VECTORS * SB_LANES <= n; j += VECTORS * SB_LANES)
    panel(VECTORS, m, k, a, a_row, a_col, b + j, ldb, c + j, ldc, add);
  b += j;
  c += j;
  switch ((n - j) / SB_LANES) {
  case 1:
    panel(1, m, k, a, a_row, a_col, b, ldb, c, ldc, add);
    break;
  case 2:
    panel(2, m, k, a, a_row, a_col, b, ldb, c, ldc, add);
    break;
  case 3:
    panel(3, m, k, a, a_row, a_col, b, ldb, c, ldc, add);
    break;
  default:
    break;
  }
}
