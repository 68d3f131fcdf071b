/* The cut of a matrix into pieces of work, for the block operations. */
#ifndef SB_KERNELS_CPU_CPU_BLOCKS_H
#define SB_KERNELS_CPU_CPU_BLOCKS_H

#include "base/memory.h"
#include "kernels/cpu/cpu.h"
#include "kernels/shared/checks.h"

/* A piece of work is a strip of this many neighbouring blocks of one block row, walked row by row.
 * Its runs of memory are long enough for the prefetcher, and the pieces are enough for the threads.
 * Results of a block do not depend on the cut. */
enum { SB_CPU_STRIP = 8 };

typedef struct sb_cpu_strip {
  size_t row, rows;     /* first row in the matrix, number of rows */
  size_t block, blocks; /* index of the first block, number of blocks */
  size_t col;           /* first column */
} sb_cpu_strip;

static inline size_t sb_cpu_strips(const sb_tiling *tiling) {
  return sb_tiling_block_rows(tiling) * sb_div_up(sb_tiling_block_cols(tiling), SB_CPU_STRIP);
}

static inline sb_cpu_strip sb_cpu_strip_at(const sb_tiling *tiling, size_t index) {
  const size_t columns = sb_tiling_block_cols(tiling), across = sb_div_up(columns, SB_CPU_STRIP);
  const size_t i = index / across, j = index % across * SB_CPU_STRIP;
  return (sb_cpu_strip){.row = i * tiling->block_rows,
                        .rows = sb_tiling_rows_of(tiling, i),
                        .block = i * columns + j,
                        .blocks = sb_min_size(SB_CPU_STRIP, columns - j),
                        .col = j * tiling->block_cols};
}

#endif
