/* Tests on several ranks with a device each, or one together; sums of numbers on them, whoever
 * makes them. */
#ifndef SB_TESTS_GPU_DEVICES_H
#define SB_TESTS_GPU_DEVICES_H

#include "kernels/backend.h"
#include "tests/support/ranks.h"

static sb_backend *gpu; /* this rank's */

typedef sb_status sums_of(sb_backend *, sb_stream, int64_t *sums, size_t count);

/* In stream order, on a stream of its own: what was queued before is summed, what comes after sees
 * the sum. */
static inline void check_sums(sums_of *sum) {
  enum { N = 1003 };
  int64_t mine[N], got[N];
  void *mine_dev = NULL;
  sb_stream stream = NULL;
  EXPECT_OK(gpu->op->alloc(gpu, sizeof mine, "operand", &mine_dev));
  EXPECT_OK(gpu->op->stream_create(gpu, &stream));
  for (int round = 0; round < 3; round++) {
    for (int64_t k = 0; k < N; k++)
      mine[k] = ((int64_t)1 << 55) - k * (world.rank + 1) * (round + 1);
    EXPECT_OK(gpu->op->upload(gpu, stream, mine_dev, mine, sizeof mine));
    EXPECT_OK(sum(gpu, stream, mine_dev, N));
    EXPECT_OK(gpu->op->download(gpu, stream, got, mine_dev, sizeof got));
    EXPECT_OK(gpu->op->sync(gpu, stream));
    const int64_t size = world.size;
    for (int64_t k = 0; k < N; k++)
      EXPECT(got[k] == size * ((int64_t)1 << 55) - k * (size * (size + 1) / 2) * (round + 1));
  }
  gpu->op->stream_destroy(gpu, stream);
  gpu->op->free(gpu, mine_dev);
  all_ranks_passed();
}

/* `open_devices`() sets gpu and returns 0, or what ctest is to be told: 77, skipped. */
#define DEVICES_MAIN(open_devices, tests)                                                          \
  int main(int argc, char **argv) {                                                                \
    int result = 1;                                                                                \
    if (sb_world_init(&argc, &argv, &world) == SB_OK) result = open_devices();                     \
    if (result == 0) result = cmocka_run_group_tests(tests, NULL, NULL) != 0;                      \
    if (gpu) gpu->op->destroy(gpu);                                                                \
    sb_world_finalize(&world);                                                                     \
    return result;                                                                                 \
  }

#endif
