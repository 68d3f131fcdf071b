/* Sums of device memory by MPI. Ranks may share a device; without one, or where MPI is not CUDA-aware, skipped. */
#include "tests/mpi/ranks.h"

#include "kernels/cuda/cuda_device.h"
#include "mpi/gpu_memory.h"
#include "mpi/large_pieces.h"

static sb_backend *gpu;

/* In several pieces, of which the last one is shorter, on a stream of its own. */
static void test_sums(void **state) {
  (void)state;
  enum { N = 1003, PIECE = 8 * 256 };
  int64_t mine[N], got[N];
  void *there = NULL;
  sb_stream stream = NULL;
  EXPECT_OK(gpu->op->alloc(gpu, sizeof mine, "operand", &there));
  EXPECT_OK(gpu->op->stream_create(gpu, &stream));
  for (int round = 0; round < 3; round++) {
    for (int64_t k = 0; k < N; k++) mine[k] = ((int64_t)1 << 55) - k * (world.rank + 1) * (round + 1);
    EXPECT_OK(gpu->op->upload(gpu, stream, there, mine, sizeof mine));
    EXPECT_OK(gpu->op->sync(gpu, stream));
    EXPECT_OK(sb_mpi_reduce_by(PIECE, there, N, MPI_INT64_T, MPI_SUM, world.comm));
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

static int open_device(void) {
  sb_status status = sb_mpi_takes_gpu_memory(&world);
  if (status == SB_OK)
    status = sb_world_agree(&world, sb_cuda_create(SB_COMPUTE_F32, world.node_rank, world.host, &gpu));
  if (status == SB_OK) return 0;
  if (world.rank == 0) printf("skipped: %s\n", sb_message());
  return 77;
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_sums)};
  int result = 1;
  if (sb_world_init(&argc, &argv, &world) == SB_OK) result = open_device();
  if (result == 0) result = cmocka_run_group_tests(tests, NULL, NULL) != 0;
  if (gpu) gpu->op->destroy(gpu);
  sb_world_finalize(&world);
  return result;
}
