/* The memory layout of block-diagonal second moments, for C and CUDA C++.
 *
 * Each block column of `block_cols` columns (the last may have fewer) has a square matrix of its
 * own width. Memory holds the lower triangles of these matrices one after another, row by row. */
#ifndef SB_KERNELS_SHARED_GRAMS_H
#define SB_KERNELS_SHARED_GRAMS_H

#include <stddef.h>

#include "base/device.h"

/* Index of the first element of block column j's triangle. */
SB_HOST_DEVICE static inline size_t sb_grams_start(size_t block_cols, size_t j) {
  return j * (block_cols * (block_cols + 1) / 2);
}
/* Number of elements of all triangles. */
SB_HOST_DEVICE static inline size_t sb_grams_count(size_t cols, size_t block_cols) {
  const size_t last = cols % block_cols;
  return sb_grams_start(block_cols, cols / block_cols) + last * (last + 1) / 2;
}

#endif
