/* The cut of a matrix into blocks, for C and CUDA C++. */
#ifndef SB_KERNELS_SHARED_TILING_H
#define SB_KERNELS_SHARED_TILING_H

#include <stddef.h>

#include "base/device.h"

/* rows x cols elements in blocks of block_rows x block_cols; the last block row and the last block
 * column may be smaller. Block (i, j) has the index i * sb_tiling_block_cols() + j. */
typedef struct sb_tiling {
  size_t rows, cols;
  size_t block_rows, block_cols;
} sb_tiling;

/* Number of block rows, and of block columns. */
SB_HOST_DEVICE static inline size_t sb_tiling_block_rows(const sb_tiling *t) {
  return (t->rows + t->block_rows - 1) / t->block_rows;
}
SB_HOST_DEVICE static inline size_t sb_tiling_block_cols(const sb_tiling *t) {
  return (t->cols + t->block_cols - 1) / t->block_cols;
}

/* Number of rows in block row i, and of columns in block column j. */
SB_HOST_DEVICE static inline size_t sb_tiling_rows_of(const sb_tiling *t, size_t i) {
  const size_t first = i * t->block_rows;
  return t->rows - first < t->block_rows ? t->rows - first : t->block_rows;
}
SB_HOST_DEVICE static inline size_t sb_tiling_cols_of(const sb_tiling *t, size_t j) {
  const size_t first = j * t->block_cols;
  return t->cols - first < t->block_cols ? t->cols - first : t->block_cols;
}

#endif
