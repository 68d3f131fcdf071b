/* The exchange of devices of several ranks by themselves: shares of an upload, and sums. One device
 * per rank; with fewer, skipped. */
#include <string.h>

#include "kernels/cuda/cuda_device.h"
#include "tests/gpu/devices.h"
#include "tests/gpu/missing.h"

static void *device(size_t bytes) {
  void *out = NULL;
  EXPECT_OK(gpu->op->alloc(gpu, bytes, "operand", &out));
  return out;
}

/* Every rank gets all bytes, whatever their number; the rank's own share comes from its own host
 * memory, as is seen where hosts differ. */
static void test_shared_uploads(void **state) {
  (void)state;
  static const size_t sizes[] = {1, 15, 16, 17, 48, 1000, 65536, 100003};
  const size_t ranks = (size_t)world.size, rank = (size_t)world.rank;
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    const size_t bytes = sizes[i], part = sb_shared_part(gpu, bytes);
    uint8_t *host = malloc(bytes), *got = calloc(bytes, 1);
    void *room_dev = device(sb_shared_room(gpu, bytes));
    EXPECT(sb_shared_room(gpu, bytes) >= bytes && part % 16 == 0 && part * ranks >= bytes);
    for (size_t k = 0; k < bytes; k++) host[k] = (uint8_t)(k * 7 + (k >> 8) + 100 * rank);
    EXPECT_OK(gpu->op->upload_shared(gpu, NULL, room_dev, host, bytes));
    EXPECT_OK(gpu->op->download(gpu, NULL, got, room_dev, bytes));
    EXPECT_OK(gpu->op->sync(gpu, NULL));
    size_t wrong = 0;
    for (size_t k = 0; k < bytes; k++)
      wrong += got[k] != (uint8_t)(k * 7 + (k >> 8) + 100 * (k / part));
    EXPECT(wrong == 0);
    gpu->op->free(gpu, room_dev);
    free(host);
    free(got);
  }
  all_ranks_passed();
}

static void test_sums(void **state) {
  (void)state;
  check_sums(gpu->op->sum_i64);
}

/* A device for each rank, in both groups; 77 if the machine has too few. */
static int open_devices(void) {
  sb_device_identity mine;
  uint8_t all[64][16];
  sb_peers_token token;
  if (world.size > 64) return 1;
  const int missing = gpu_missing(
      sb_world_agree(&world, sb_cuda_create(SB_COMPUTE_F32, world.rank, world.host, &gpu)));
  if (missing) return missing;
  sb_cuda_identify(gpu, &mine);
  MPI_Allgather(mine.uuid, 16, MPI_BYTE, all, 16, MPI_BYTE, world.comm);
  for (int i = 0; i < world.size; i++)
    for (int j = 0; j < i; j++)
      if (memcmp(all[i], all[j], 16) == 0) {
        if (world.rank == 0) printf("skipped: %d ranks need as many GPUs\n", world.size);
        return 77;
      }
  for (int kind = 0; kind < SB_PEER_GROUPS; kind++) {
    if (sb_world_agree(&world, gpu->op->peers_token(gpu, &token)) != SB_OK) {
      if (world.rank == 0) printf("skipped: %s\n", sb_message());
      return 77;
    }
    MPI_Bcast(&token, sizeof token, MPI_BYTE, 0, world.comm);
    sb_status status = gpu->op->peers_join(gpu, (sb_peers)kind, &token, world.rank, world.size);
    for (bool ready = false; status == SB_OK && !ready;)
      status = gpu->op->peers_ready(gpu, (sb_peers)kind, &ready);
    if (status != SB_OK) {
      printf("%s\n", sb_message());
      return 1;
    }
  }
  return 0;
}

static const struct CMUnitTest tests[] = {cmocka_unit_test(test_shared_uploads),
                                          cmocka_unit_test(test_sums)};
DEVICES_MAIN(open_devices, tests)
