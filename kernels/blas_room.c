#include "kernels/blas_room.h"

#include <errno.h>
#include <omp.h>
#include <string.h>
#include <sys/mman.h>

#include "kernels/cpu/cpu_sgemm.h"

/* OpenBLAS' own: a buffer of its pool, and back into it, where it stays mapped. Absent in another
 * BLAS, which has no such pool. */
void *blas_memory_alloc(int unused) __attribute__((weak));
void blas_memory_free(void *buffer) __attribute__((weak));

enum { MOST = 128 }; /* threads; OpenBLAS' pool of common builds holds twice as many buffers */

/* Whether the system would give so much. */
static sb_status probe(size_t mib, int threads) {
  const size_t bytes = mib << 20;
  void *got = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (got == MAP_FAILED)
    return sb_fail(SB_ERR_MEMORY,
                   "matrix products take %zu MiB of address space with %d thread%s, which is not "
                   "given (%s): raise ulimit -v or vm.overcommit_ratio, or take fewer --threads",
                   mib, threads, threads == 1 ? "" : "s", strerror(errno));
  (void)munmap(got, bytes);
  return SB_OK;
}

static void take_buffers(int count) {
  void *buffers[MOST];
  if (!blas_memory_alloc || !blas_memory_free) return;
  for (int i = 0; i < count; i++) buffers[i] = blas_memory_alloc(0);
  for (int i = 0; i < count; i++) blas_memory_free(buffers[i]);
}

/* The first product of each kind writes the code for it. */
static void write_code(void) {
  const float a[4] = {1, 2, 3, 4}, b[4] = {5, 6, 7, 8};
  float c[4];
  for (int kind = 0; kind < 4; kind++)
    (void)sb_cpu_sgemm(kind & 1, kind & 2, 2, 2, 2, 1.0f, a, 2, b, 2, 0.0f, c, 2);
}

sb_status sb_blas_room_take(int threads) {
  static int taken; /* threads; of the process, as the pool is */
  int wanted = threads > 0 ? threads : omp_get_max_threads();
  if (wanted > MOST) wanted = MOST;
  if (wanted <= taken) return SB_OK;
  const int more = wanted - taken;
  SB_TRY(probe((size_t)more * SB_BLAS_BUFFER_MIB + (taken == 0 ? SB_DNN_CODE_MIB : 0), wanted));
  take_buffers(wanted);
  if (taken == 0) write_code();
  taken = wanted;
  return SB_OK;
}
