/* bench_select [ITEMS]: the distributed selection of 4.3 million items (a 70B model in blocks of
 * 128 x 128), dealt over the ranks, against one rank that sorts all of them. Run it under mpirun
 * with 1, 2 and 4 ranks. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/memory.h"
#include "mpi/select.h"
#include "mpi/world.h"

typedef struct item {
  uint64_t key, id, weight;
} item;

enum { REPEATS = 5 };

static int best_first(const void *a, const void *b) {
  const item *x = a, *y = b;
  if (x->key != y->key) return x->key > y->key ? -1 : 1;
  return x->id < y->id ? -1 : x->id > y->id;
}

/* Gains per bit: log-normal over many orders of magnitude, as sensitivities are. */
static item synthetic(uint64_t i) {
  uint64_t h = (i + 1) * UINT64_C(0x9e3779b97f4a7c15);
  double gain;
  h = (h ^ (h >> 31)) * UINT64_C(0xbf58476d1ce4e5b9);
  h ^= h >> 29;
  gain = exp(((double)(h >> 40) + (double)(h & 0xffffff)) * 0x1p-22 - 12);
  return (item){.key = sb_select_key(gain), .id = i, .weight = 16384};
}

/* Seconds to sort all items and walk to the budget; the first item left out. */
static double by_sorting(uint64_t n, uint64_t budget, item *cut) {
  double best = INFINITY;
  item *items;
  if (sb_alloc_raw(&items, n, sizeof *items, "items to sort") != SB_OK) return NAN;
  for (int repeat = 0; repeat < 2; repeat++) {
    uint64_t taken = 0, i = 0;
    double begin;
    for (uint64_t k = 0; k < n; k++) items[k] = synthetic(k);
    begin = sb_now();
    qsort(items, n, sizeof *items, best_first);
    while (i < n && taken + items[i].weight <= budget) taken += items[i++].weight;
    best = fmin(best, sb_now() - begin);
    *cut = items[i];
  }
  sb_free(&items);
  return best;
}

static sb_status run(const sb_world *world, uint64_t n) {
  const uint64_t first = n * (uint64_t)world->rank / (uint64_t)world->size;
  const uint64_t end = n * (uint64_t)(world->rank + 1) / (uint64_t)world->size;
  const uint64_t own = end - first, budget = n * 16384 / 10 + 5;
  uint64_t *data;
  double best = INFINITY, sorting = 0;
  sb_selection got;
  item cut = {0};
  SB_AGREE(world, sb_alloc_raw(&data, 3 * own, sizeof *data, "items"));
  for (uint64_t i = 0; i < own; i++) {
    const item x = synthetic(first + i);
    data[i] = x.key;
    data[own + i] = x.id;
    data[2 * own + i] = x.weight;
  }
  for (int repeat = 0; repeat < REPEATS; repeat++) {
    double begin, mine, slowest;
    MPI_Barrier(world->comm);
    begin = sb_now();
    SB_TRY(sb_select_prefix(data, data + own, data + 2 * own, own, budget, world->comm, &got));
    mine = sb_now() - begin;
    SB_MPI(MPI_Allreduce(&mine, &slowest, 1, MPI_DOUBLE, MPI_MAX, world->comm));
    best = fmin(best, slowest);
  }
  sb_free(&data);
  if (world->rank == 0) {
    sorting = by_sorting(n, budget, &cut);
    printf("select: %llu items on %d rank(s): %.1f ms; qsort of all on one rank: %.1f ms; ratio "
           "%.1f; %s\n",
           (unsigned long long)n, world->size, best * 1e3, sorting * 1e3, sorting / best,
           cut.key == got.key && cut.id == got.id ? "same cut" : "DIFFERENT CUT");
  }
  SB_MPI(MPI_Barrier(world->comm));
  return SB_OK;
}

int main(int argc, char **argv) {
  sb_world world;
  sb_status status = sb_world_init(&argc, &argv, &world);
  SB_THEN(run(&world, argc > 1 ? strtoull(argv[1], NULL, 10) : 4300000));
  if (status != SB_OK && world.rank == 0) fprintf(stderr, "bench_select: %s\n", sb_message());
  sb_world_finalize(&world);
  return sb_exit_code(status);
}
