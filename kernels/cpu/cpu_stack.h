/* The cut of a stack into work for threads: tiles of rows, which never cross a block row. */
#ifndef SB_KERNELS_CPU_CPU_STACK_H
#define SB_KERNELS_CPU_CPU_STACK_H

#include <omp.h>

#include "base/memory.h"
#include "kernels/cpu/cpu.h"

/* Rows that go through GEMM together. A constant, so that bits do not depend on the threads. */
enum { CPU_STACK_TILE = 16 };

typedef struct cpu_tile {
  size_t first, rows;
} cpu_tile;

static inline size_t cpu_stack_tiles(const sb_stack *stack) {
  size_t tiles = 0;
  for (size_t i = 0; i < stack->count; i++)
    tiles += sb_div_up(stack->starts[i + 1] - stack->starts[i], CPU_STACK_TILE);
  return tiles;
}

/* Tile number t, in the order of rows. O(block rows). */
static inline cpu_tile cpu_stack_tile(const sb_stack *stack, size_t t) {
  cpu_tile tile = {0, 0};
  for (size_t i = 0; i < stack->count; i++) {
    const size_t rows = stack->starts[i + 1] - stack->starts[i],
                 tiles = sb_div_up(rows, CPU_STACK_TILE);
    if (t < tiles) {
      tile.first = stack->starts[i] + t * CPU_STACK_TILE;
      tile.rows = sb_min_size(CPU_STACK_TILE, stack->starts[i + 1] - tile.first);
      break;
    }
    t -= tiles;
  }
  return tile;
}

/* Calls `work` for every tile. Threads take tiles as they come; each thread has `room` floats of
 * its own. */
typedef void (*cpu_stack_work)(const sb_stack *stack, const cpu_tile *tile, float *room,
                               const void *context);

static inline sb_status cpu_stack_each(sb_backend *backend, const sb_stack *stack, size_t room,
                                       cpu_stack_work work, const void *context) {
  const size_t tiles = cpu_stack_tiles(stack);
  const int threads = sb_cpu_threads(backend);
  float *rooms;
  SB_TRY(
      sb_cpu_scratch(backend, SB_CPU_SLOT_THREADS, room * (size_t)threads, sizeof *rooms, &rooms));
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
  for (size_t t = 0; t < tiles; t++) {
    const cpu_tile tile = cpu_stack_tile(stack, t);
    work(stack, &tile, rooms + room * (size_t)omp_get_thread_num(), context);
  }
  return SB_OK;
}

/* Columns of block column j. */
static inline size_t cpu_stack_cols_of(const sb_stack *stack, size_t j) {
  return sb_min_size(stack->block_cols, stack->cols - j * stack->block_cols);
}

#endif
