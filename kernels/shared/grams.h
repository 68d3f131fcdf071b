/* How block-diagonal second moments lie in memory; for C and CUDA C++.
 *
 * For every block column of `block_cols` columns (the last may have fewer): the lower triangle, row
 * by row, of a square matrix as wide as the block column. */
#ifndef SB_KERNELS_SHARED_GRAMS_H
#define SB_KERNELS_SHARED_GRAMS_H

#include <stddef.h>

#include "base/device.h"

/* Where the triangle of block column j begins. */
SB_HOST_DEVICE static inline size_t sb_grams_start(size_t block_cols, size_t j) {
  return j * (block_cols * (block_cols + 1) / 2);
}
/* Number of elements of all triangles. */
SB_HOST_DEVICE static inline size_t sb_grams_count(size_t cols, size_t block_cols) {
  const size_t last = cols % block_cols;
  return sb_grams_start(block_cols, cols / block_cols) + last * (last + 1) / 2;
}

#endif
