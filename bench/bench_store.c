/* bench_store [MIB]: walks through 8 groups of MIB (default 64) each, the next one on its way, against a
 * plain memcpy of the same bytes on one rank. SHARDBITS_RANKS_PER_NODE=1 sends everything through MPI instead
 * of shared memory. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "mpi/store.h"

enum { GROUPS = 8, UNITS = 256, WALKS = 3 };

static double copy_seconds(size_t bytes) {
  double best = INFINITY;
  char *from, *to;
  if (sb_alloc(&from, bytes, 1, "bytes to copy") != SB_OK ||
      sb_alloc(&to, bytes, 1, "room for a copy") != SB_OK)
    return NAN;
  for (int repeat = 0; repeat < 5; repeat++) {
    const double begin = sb_now();
    memcpy(to, from, bytes);
    __asm__ volatile("" : : "r"(to) : "memory");
    best = fmin(best, sb_now() - begin);
  }
  sb_free(&from);
  sb_free(&to);
  return best;
}

static sb_status walk(sb_store *store) {
  const void *image;
  for (size_t g = 0; g < GROUPS; g++) {
    SB_TRY(sb_store_acquire(store, g, &image));
    if (g + 1 < GROUPS) SB_TRY(sb_store_prefetch(store, g + 1));
    SB_TRY(sb_store_release(store, g));
  }
  return SB_OK;
}

static sb_status run(const sb_world *world, size_t mib) {
  size_t sizes[UNITS], bytes = mib << 20;
  sb_store_group groups[GROUPS];
  sb_store *store;
  double best = INFINITY;
  for (size_t u = 0; u < UNITS; u++) sizes[u] = bytes / UNITS;
  for (size_t g = 0; g < GROUPS; g++) groups[g] = (sb_store_group){UNITS, sizes};
  SB_TRY(sb_store_create(world, groups, GROUPS, 2, &store));
  for (size_t g = 0; g < GROUPS; g++)
    for (size_t u = 0; u < UNITS; u++) {
      void *own = sb_store_unit(store, g, u);
      if (own) memset(own, (int)g, sizes[u]);
    }
  for (int repeat = 0; repeat < WALKS; repeat++) {
    double begin, mine, slowest;
    MPI_Barrier(world->comm);
    begin = sb_now();
    SB_AGREE(world, walk(store));
    mine = sb_now() - begin;
    SB_MPI(MPI_Allreduce(&mine, &slowest, 1, MPI_DOUBLE, MPI_MAX, world->comm));
    best = fmin(best, slowest);
  }
  if (world->rank == 0) {
    const double copy = copy_seconds(bytes) * GROUPS;
    printf("store: %d rank(s) on %d node(s), %d groups of %zu MiB: %.1f ms, %.2f GB/s a node; memcpy of one "
           "copy on one rank: "
           "%.1f ms; ratio %.2f; sent by rank 0: %.0f MiB a walk\n",
           world->size, world->nodes, GROUPS, mib, best * 1e3, (double)bytes * GROUPS / best / 1e9,
           copy * 1e3, best / copy, (double)sb_store_bytes_sent(store) / WALKS / 1048576.0);
  }
  SB_MPI(MPI_Barrier(world->comm));
  sb_store_free(&store);
  return SB_OK;
}

int main(int argc, char **argv) {
  sb_world world;
  sb_status status = sb_world_init(&argc, &argv, &world);
  if (status == SB_OK) status = run(&world, argc > 1 ? strtoull(argv[1], NULL, 10) : 64);
  if (status != SB_OK && world.rank == 0) fprintf(stderr, "bench_store: %s\n", sb_message());
  sb_world_finalize(&world);
  return sb_exit_code(status);
}
