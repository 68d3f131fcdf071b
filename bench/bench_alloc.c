/* bench_alloc [BLOCKS]: iterations of the allocation with 4.3 million blocks (a 70B model in blocks
 * of 128 x 128) dealt over the ranks: an unbounded step, a trade bounded to 1% of the storage, and
 * the allocation in one shot from a table of losses at all widths. Run it under mpirun with 1, 2
 * and 4 ranks. The bound is 1 s per iteration of the step; memory is that of this rank's share. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/choose_blocks.h"
#include "alloc/greedy.h"
#include "base/clock.h"
#include "base/memory.h"

enum { REPEATS = 3 };

typedef struct blocks {
  sb_blocks b;
  uint64_t *id;
  uint16_t *rows, *cols;
  uint8_t *bits, *trial;
  double *gain, *loss;
} blocks;

/* Log-normal over many orders of magnitude, as sensitivities are. */
static double synthetic(uint64_t i) {
  uint64_t h = (i + 1) * UINT64_C(0x9e3779b97f4a7c15);
  h = (h ^ (h >> 31)) * UINT64_C(0xbf58476d1ce4e5b9);
  h ^= h >> 29;
  return 1e-9 * exp(((double)(h >> 40) + (double)(h & 0xffffff)) * 0x1p-22);
}

static sb_status fill(const sb_world *world, uint64_t n, blocks *x) {
  const uint64_t first = n * (uint64_t)world->rank / (uint64_t)world->size;
  const size_t own = (size_t)(n * (uint64_t)(world->rank + 1) / (uint64_t)world->size - first);
  SB_TRY(sb_alloc(&x->id, own, sizeof *x->id, "blocks"));
  SB_TRY(sb_alloc(&x->rows, own, sizeof *x->rows, "blocks"));
  SB_TRY(sb_alloc(&x->cols, own, sizeof *x->cols, "blocks"));
  SB_TRY(sb_alloc(&x->bits, own, 1, "blocks"));
  SB_TRY(sb_alloc(&x->trial, own, 1, "blocks"));
  SB_TRY(sb_alloc(&x->gain, own, sizeof *x->gain, "blocks"));
  SB_TRY(sb_alloc(&x->loss, own, sizeof *x->loss, "blocks"));
  for (size_t i = 0; i < own; i++) {
    x->id[i] = first + i;
    x->rows[i] = 128;
    x->cols[i] = (first + i) % 50 == 0 ? 64 : 128; /* some ragged ones */
    x->bits[i] = (uint8_t)(2 + (first + i) % 3);
    x->gain[i] = synthetic(2 * (first + i));
    x->loss[i] = 3 * synthetic(2 * (first + i) + 1);
  }
  x->b = (sb_blocks){own, x->id, x->rows, x->cols, SB_GRID_ASYMMETRIC, 1, 8, NULL};
  return SB_OK;
}

static sb_status measure(const sb_world *world, blocks *x, const char *name, uint64_t budget,
                         uint64_t most) {
  double best = INFINITY;
  sb_step_result result = {0};
  for (int i = 0; i < REPEATS; i++) {
    double seconds;
    memcpy(x->trial, x->bits, x->b.count);
    SB_MPI(MPI_Barrier(world->comm));
    seconds = sb_now();
    SB_TRY(sb_greedy_step(world, &x->b, x->gain, x->loss, budget, most, x->trial, &result));
    seconds = sb_now() - seconds;
    SB_MPI(MPI_Allreduce(MPI_IN_PLACE, &seconds, 1, MPI_DOUBLE, MPI_MAX, world->comm));
    best = fmin(best, seconds);
  }
  if (world->rank == 0)
    printf("  %-24s %7.3f s   %llu raised, %llu cut, %llu bits of %llu left\n", name, best,
           (unsigned long long)result.raised, (unsigned long long)result.cut,
           (unsigned long long)(budget - result.storage), (unsigned long long)budget);
  return SB_OK;
}

static void fill_table(const blocks *x, double (*table)[SB_WIDTHS]) {
  for (size_t i = 0; i < x->b.count; i++) {
    double loss = 4 * x->loss[i];
    for (unsigned bits = 1; bits < SB_WIDTHS; bits++) {
      table[i][bits] = loss;
      loss *= 0.2 + 0.1 * (double)((x->id[i] * 7 + bits * 3) % 11) / 11;
    }
  }
}

/* All widths at once, at about 3.25 bits per weight. */
static sb_status measure_table(const sb_world *world, blocks *x) {
  double(*table)[SB_WIDTHS] = NULL, best = INFINITY;
  uint64_t budget = 0;
  sb_choose_result result = {0};
  sb_status status = sb_alloc_raw(&table, x->b.count, sizeof *table, "table of losses");
  status = sb_world_agree(world, status);
  if (status == SB_OK) fill_table(x, table);
  const size_t before = sb_current_resident();
  memset(x->trial, 3, x->b.count);
  SB_THEN(sb_blocks_total(world, &x->b, x->trial, &budget));
  budget += budget / 12;
  for (int i = 0; i < REPEATS && status == SB_OK; i++) {
    double seconds;
    MPI_Barrier(world->comm);
    seconds = sb_now();
    status = sb_choose_blocks(world, &x->b, table, budget, x->trial, &result);
    seconds = sb_now() - seconds;
    MPI_Allreduce(MPI_IN_PLACE, &seconds, 1, MPI_DOUBLE, MPI_MAX, world->comm);
    best = fmin(best, seconds);
  }
  if (world->rank == 0 && status == SB_OK)
    printf("  %-24s %7.3f s   gap at most %.1e%% of the loss, %llu bits of %llu left, %.0f bytes a "
           "block "
           "beside the table\n",
           "table of all widths", best, 100 * result.gap / result.loss,
           (unsigned long long)(budget - result.storage), (unsigned long long)budget,
           (double)(sb_peak_resident() - before) / (double)x->b.count);
  sb_free(&table);
  return status;
}

static sb_status run(const sb_world *world, uint64_t n) {
  blocks x = {0};
  sb_status status;
  uint64_t storage = 0;
  size_t before, after;
  SB_GO(sb_world_agree(world, fill(world, n, &x)));
  before = sb_peak_resident();
  SB_GO(sb_blocks_total(world, &x.b, x.bits, &storage));
  if (world->rank == 0)
    printf("%llu blocks on %d rank(s), slowest rank, best of %d\n", (unsigned long long)n,
           world->size, REPEATS);
  SB_GO(measure(world, &x, "unbounded step", storage, UINT64_MAX));
  SB_GO(measure(world, &x, "trade of 1%", storage, storage / 100));
  SB_GO(measure(world, &x, "step to 90% of storage", storage / 10 * 9, UINT64_MAX));
  after = sb_peak_resident();
  if (world->rank == 0)
    printf("  memory of a rank: %.0f MiB with its blocks, %.0f MiB at most (%.0f bytes a block of "
           "its own)\n",
           (double)before / 0x1p20, (double)after / 0x1p20,
           (double)(after - before) / (double)x.b.count);
  SB_GO(measure_table(world, &x));
done:
  sb_free(&x.id);
  sb_free(&x.rows);
  sb_free(&x.cols);
  sb_free(&x.bits);
  sb_free(&x.trial);
  sb_free(&x.gain);
  sb_free(&x.loss);
  return status;
}

int main(int argc, char **argv) {
  sb_world world;
  sb_status status = sb_world_init(&argc, &argv, &world);
  const long long n = argc > 1 ? atoll(argv[1]) : 4300000;
  if (status == SB_OK && n < world.size)
    status = sb_fail(SB_ERR_USAGE, "bench_alloc [BLOCKS]: at least one block a rank");
  SB_THEN(run(&world, (uint64_t)n));
  if (status != SB_OK) fprintf(stderr, "%s\n", sb_message());
  sb_world_finalize(&world);
  return sb_exit_code(status);
}
