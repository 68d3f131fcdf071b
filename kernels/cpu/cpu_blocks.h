/* What the three block operations share: checks of their arguments, the threads they use, and how a matrix is cut into
 * pieces of work. */
#ifndef SB_KERNELS_CPU_CPU_BLOCKS_H
#define SB_KERNELS_CPU_CPU_BLOCKS_H

#include <omp.h>

#include "base/memory.h"
#include "kernels/cpu/cpu.h"
#include "kernels/grid.h"

/* A piece of work is a strip of this many neighbouring blocks of one block row, walked row by row: long enough runs
 * of memory for the prefetcher, many enough pieces for the threads. Results of a block do not depend on the cut. */
enum { SB_CPU_STRIP = 8 };

typedef struct sb_cpu_strip {
  size_t row, rows;     /* of the matrix */
  size_t block, blocks; /* index of the first block, and their number */
  size_t col, cols;     /* columns of the strip */
} sb_cpu_strip;

static inline size_t sb_cpu_strips_across(const sb_grid_shape *grid) {
  return sb_div_up(sb_grid_block_cols(grid), SB_CPU_STRIP);
}

static inline sb_cpu_strip sb_cpu_strip_at(const sb_grid_shape *grid, size_t index) {
  const size_t across = sb_cpu_strips_across(grid), block_cols = sb_grid_block_cols(grid);
  const size_t i = index / across, j = index % across * SB_CPU_STRIP;
  sb_cpu_strip s;
  s.row = i * grid->block_rows;
  s.rows = sb_min_size(grid->block_rows, grid->rows - s.row);
  s.block = i * block_cols + j;
  s.blocks = sb_min_size(SB_CPU_STRIP, block_cols - j);
  s.col = j * grid->block_cols;
  s.cols = sb_min_size(s.blocks * grid->block_cols, grid->cols - s.col);
  return s;
}

static inline int sb_cpu_block_threads(const sb_backend *backend) {
  return backend ? sb_cpu_threads(backend) : omp_get_max_threads();
}

/* Block sizes of 0, a symmetry or a bit width that does not exist: a caller's bug. `least` is 0 where unquantized
 * blocks are allowed. */
static inline sb_status sb_cpu_check_blocks(const char *operation, const sb_grid_shape *grid, const uint8_t *bits,
                                            unsigned least, sb_symmetry symmetry) {
  if (grid->block_rows == 0 || grid->block_cols == 0)
    return sb_fail(SB_ERR_INTERNAL, "%s: blocks of %zu x %zu", operation, grid->block_rows, grid->block_cols);
  if (symmetry != SB_ASYMMETRIC && symmetry != SB_SYMMETRIC)
    return sb_fail(SB_ERR_INTERNAL, "%s: symmetry %d", operation, (int)symmetry);
  const size_t blocks = sb_grid_block_rows(grid) * sb_grid_block_cols(grid);
  for (size_t k = 0; k < blocks; k++)
    if (bits[k] < least || bits[k] > SB_MAX_BITS)
      return sb_fail(SB_ERR_INTERNAL, "%s: block %zu has %u bits; possible are %u to %d", operation, k, bits[k], least,
                     SB_MAX_BITS);
  return SB_OK;
}

#endif
