/* What the tests of the block operations share: reproducible matrices of awkward content, and
 * kernels/shared/grid.h applied one group at a time, in plain loops. */
#ifndef SB_TESTS_KERNELS_BLOCKS_H
#define SB_TESTS_KERNELS_BLOCKS_H

#include <omp.h>

#include "base/memory.h"
#include "kernels/backend.h"
#include "kernels/shared/grid.h"
#include "tests/support/assertions.h"
#include "tests/support/random.h"

/* Rows of unlike sizes; some all zero, one-sided, constant, tiny (fp16 subnormal steps), huge, or
 * with an outlier. */
static inline void fill_awkward(float *w, size_t rows, size_t cols, uint64_t seed) {
  uint64_t s = seed * 1000003;
  for (size_t r = 0; r < rows; r++) {
    const uint64_t kind = mix(s++) % 10;
    const float size = ldexpf(1.0f, (int)(mix(s++) % 12) - 10);
    for (size_t c = 0; c < cols; c++) {
      float x = size * uniform(&s);
      if (kind == 0) x = 0.0f;
      if (kind == 1) x = fabsf(x);
      if (kind == 2) x = -fabsf(x);
      if (kind == 3) x = size;
      if (kind == 4) x *= 1e-6f;
      if (kind == 5) x *= 1e9f;
      if (kind == 6 && c == cols / 2) x *= 50.0f;
      w[r * cols + c] = x;
    }
  }
}

static inline void fill_bits(uint8_t *bits, size_t blocks, unsigned least, unsigned most,
                             uint64_t seed) {
  for (size_t k = 0; k < blocks; k++)
    bits[k] = (uint8_t)(least + mix(seed + k) % (most - least + 1));
}

/* A mean as kernels/shared/grid.h orders it. */
static inline float ordered_mean(const float *w, size_t n, float centre, bool absolute) {
  float lane[16] = {0};
  for (size_t i = 0; i < n; i++) lane[i % 16] += absolute ? fabsf(w[i] - centre) : w[i];
  for (int width = 8; width > 0; width /= 2)
    for (int i = 0; i < width; i++) lane[i] += lane[i + width];
  return lane[0] / (float)n;
}

static inline sb_grid scalar_grid(const float *w, size_t n, unsigned bits, sb_code_kind code_kind) {
  sb_group_range range = {0};
  for (size_t i = 0; i < n; i++) {
    if (w[i] < range.low) range.low = w[i];
    if (w[i] > range.high) range.high = w[i];
  }
  range.mean = sb_grid_base(ordered_mean(w, n, 0.0f, false), code_kind);
  range.spread = ordered_mean(w, n, range.mean, true);
  range.mean_magnitude = ordered_mean(w, n, 0.0f, true);
  return sb_grid_choose(&range, bits, code_kind);
}

/* out[rows, cols] = Q(w), one weight after another; 0 bits copies. */
static inline void scalar_quantize(float *out, const float *w, const sb_tiling *tiling,
                                   const uint8_t *bits, sb_code_kind code_kind) {
  for (size_t r = 0; r < tiling->rows; r++)
    for (size_t j = 0; j < sb_tiling_block_cols(tiling); j++) {
      const size_t at = r * tiling->cols + j * tiling->block_cols, n = sb_tiling_cols_of(tiling, j);
      const unsigned b = bits[r / tiling->block_rows * sb_tiling_block_cols(tiling) + j];
      if (b == 0) {
        memcpy(out + at, w + at, n * sizeof *w);
        continue;
      }
      const sb_grid grid = scalar_grid(w + at, n, b, code_kind);
      for (size_t c = 0; c < n; c++)
        out[at + c] = sb_grid_value(&grid, sb_grid_code(&grid, w[at + c]));
    }
}

/* Geometries with and without ragged edges, single rows and columns, lanes filled
 * and not, wide strips. */
static const sb_tiling shapes[] = {
    {128, 128, 128, 128}, {100, 200, 64, 64}, {1, 1, 128, 128},   {7, 129, 3, 128},
    {33, 17, 16, 5},      {64, 1100, 32, 64}, {5, 1000, 2, 1000}, {9, 300, 128, 7},
    {256, 40, 128, 1024}, {16, 2048, 8, 128},
};
enum { SHAPES = sizeof shapes / sizeof *shapes };

static inline size_t block_count(const sb_tiling *tiling) {
  return sb_tiling_block_rows(tiling) * sb_tiling_block_cols(tiling);
}

#endif
