/* Sums over ranks of numbers on their devices, whoever makes them. */
#ifndef SB_TESTS_GPU_SUMS_H
#define SB_TESTS_GPU_SUMS_H

#include "kernels/backend.h"
#include "tests/mpi/ranks.h"

typedef sb_status sums_of(sb_backend *, sb_stream, int64_t *sums, size_t count);

/* In stream order, on a stream of its own: what was queued before is summed, what comes after sees the sum. */
static inline void check_sums(sb_backend *gpu, sums_of *sum) {
  enum { N = 1003 };
  int64_t mine[N], got[N];
  void *there = NULL;
  sb_stream stream = NULL;
  EXPECT_OK(gpu->op->alloc(gpu, sizeof mine, "operand", &there));
  EXPECT_OK(gpu->op->stream_create(gpu, &stream));
  for (int round = 0; round < 3; round++) {
    for (int64_t k = 0; k < N; k++) mine[k] = ((int64_t)1 << 55) - k * (world.rank + 1) * (round + 1);
    EXPECT_OK(gpu->op->upload(gpu, stream, there, mine, sizeof mine));
    EXPECT_OK(sum(gpu, stream, there, N));
    EXPECT_OK(gpu->op->download(gpu, stream, got, there, sizeof got));
    EXPECT_OK(gpu->op->sync(gpu, stream));
    const int64_t size = world.size;
    for (int64_t k = 0; k < N; k++)
      EXPECT(got[k] == size * ((int64_t)1 << 55) - k * (size * (size + 1) / 2) * (round + 1));
  }
  gpu->op->stream_destroy(gpu, stream);
  gpu->op->free(gpu, there);
  all_ranks_passed();
}

#endif
