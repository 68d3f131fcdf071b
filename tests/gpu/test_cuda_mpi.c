/* Sums of device memory by MPI. Ranks may share a device; without one, or where MPI is not
 * CUDA-aware, skipped. */
#include "kernels/cuda/cuda_device.h"
#include "mpi/gpu_memory.h"
#include "mpi/large_pieces.h"
#include "tests/gpu/devices.h"
#include "tests/gpu/missing.h"

/* In several pieces, of which the last one is shorter. MPI waits for no stream. */
static sb_status sum_by_mpi(sb_backend *b, sb_stream stream, int64_t *sums, size_t count) {
  SB_TRY(b->op->sync(b, stream));
  return sb_mpi_reduce_by(8 * 256, sums, count, MPI_INT64_T, MPI_SUM, world.comm);
}

static void test_sums(void **state) {
  (void)state;
  check_sums(sum_by_mpi);
}

static int open_device(void) {
  if (sb_mpi_takes_gpu_memory(&world) != SB_OK) {
    if (world.rank == 0) printf("skipped: %s\n", sb_message());
    return 77;
  }
  return gpu_missing(
      sb_world_agree(&world, sb_cuda_create(SB_COMPUTE_F32, world.node_rank, world.host, &gpu)));
}

static const struct CMUnitTest tests[] = {cmocka_unit_test(test_sums)};
DEVICES_MAIN(open_device, tests)
