/* Looks for races: two threads access the same byte, one of them writes, and nothing between orders
 * the two accesses.
 *
 * The kernels' sources are compiled with -fsanitize=thread, so the compiler has them report every
 * access. races.cpp stands in for that option's library. Accesses are ordered
 *
 * - of one thread, and of one kernel and a later one;
 * - of one block, with a __syncthreads between;
 * - of one warp, with a __syncwarp between. Shuffles, votes, matrix products and matrix loads order
 *   nothing: they are no fences of memory;
 * - of two blocks, where the earlier one fenced and then made an atomic operation, and the later
 *   one made one at the same place and then fenced;
 * - if both are atomic.
 *
 * Accesses that a run does not reach are not checked. A race ends the program with a line. */
#ifndef SB_TESTS_CUDA_HOST_RACES_H
#define SB_TESTS_CUDA_HOST_RACES_H

#include <stddef.h>
#include <stdint.h>

/* Where the running thread is. */
struct sb_host_place {
  uint32_t launch, block;           /* which kernel since the start, which of its blocks */
  uint32_t thread;                  /* of the block */
  uint32_t block_syncs, warp_syncs; /* how often its block and its warp have met so far */
};

/* Memory that is looked after: the device's. That of blocks is by itself. */
void sb_host_races_track(const void *memory, size_t bytes);
void sb_host_races_forget(const void *memory);

/* What the compiler does not report. */
void sb_host_races_read(const void *at, size_t bytes);
void sb_host_races_write(const void *at, size_t bytes);
void sb_host_races_atomic(const void *at, size_t bytes);
void sb_host_races_fence();

#endif
