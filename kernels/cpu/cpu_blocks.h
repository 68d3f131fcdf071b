/* What the block operations share: checks of their arguments, and how a matrix is cut into pieces of work. */
#ifndef SB_KERNELS_CPU_CPU_BLOCKS_H
#define SB_KERNELS_CPU_CPU_BLOCKS_H

#include "base/memory.h"
#include "kernels/cpu/cpu.h"
#include "kernels/grid.h"

/* A piece of work is a strip of this many neighbouring blocks of one block row, walked row by row: long
 * enough runs of memory for the prefetcher, many enough pieces for the threads. Results of a block do not
 * depend on the cut. */
enum { SB_CPU_STRIP = 8 };

typedef struct sb_cpu_strip {
  size_t row, rows;     /* of the matrix */
  size_t block, blocks; /* index of the first block, and their number */
  size_t col;           /* first column */
} sb_cpu_strip;

static inline size_t sb_cpu_strips(const sb_grid_shape *grid) {
  return sb_grid_block_rows(grid) * sb_div_up(sb_grid_block_cols(grid), SB_CPU_STRIP);
}

static inline sb_cpu_strip sb_cpu_strip_at(const sb_grid_shape *grid, size_t index) {
  const size_t columns = sb_grid_block_cols(grid), across = sb_div_up(columns, SB_CPU_STRIP);
  const size_t i = index / across, j = index % across * SB_CPU_STRIP;
  return (sb_cpu_strip){.row = i * grid->block_rows,
                        .rows = sb_grid_rows_of(grid, i),
                        .block = i * columns + j,
                        .blocks = sb_min_size(SB_CPU_STRIP, columns - j),
                        .col = j * grid->block_cols};
}

/* A broken geometry or bit map is a caller's bug, too wide blocks are a user's wish. */
static inline sb_status sb_cpu_check_grid(const char *operation, const sb_grid_shape *grid) {
  if (grid->block_rows == 0 || grid->block_cols == 0)
    return sb_fail(SB_ERR_INTERNAL, "%s: blocks of %zu x %zu", operation, grid->block_rows, grid->block_cols);
  if (sb_min_size(grid->block_cols, grid->cols) > SB_GROUP_MAX)
    return sb_fail(SB_ERR_UNSUPPORTED, "blocks of %zu columns: at most %d are supported", grid->block_cols,
                   SB_GROUP_MAX);
  return SB_OK;
}

/* `least` is 0 where unquantized blocks are allowed. */
static inline sb_status sb_cpu_check_blocks(const char *operation, const sb_grid_shape *grid,
                                            const uint8_t *bits, unsigned least) {
  SB_TRY(sb_cpu_check_grid(operation, grid));
  const size_t blocks = sb_grid_block_rows(grid) * sb_grid_block_cols(grid);
  for (size_t k = 0; k < blocks; k++)
    if (bits[k] < least || bits[k] > SB_MAX_BITS)
      return sb_fail(SB_ERR_INTERNAL, "%s: block %zu has %u bits, possible are %u to %d", operation, k,
                     bits[k], least, SB_MAX_BITS);
  return SB_OK;
}

/* For operations that answer for all widths from min_bits to max_bits. */
static inline sb_status sb_cpu_check_widths(const char *operation, const sb_grid_shape *grid,
                                            unsigned min_bits, unsigned max_bits) {
  if (min_bits < SB_MIN_BITS || max_bits > SB_MAX_BITS || min_bits > max_bits)
    return sb_fail(SB_ERR_INTERNAL, "%s: widths from %u to %u bits", operation, min_bits, max_bits);
  return sb_cpu_check_grid(operation, grid);
}

#endif
