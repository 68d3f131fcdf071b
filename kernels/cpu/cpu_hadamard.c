/* Signs and Hadamard transforms of activations (ops/trellis.h). */
#include <omp.h>

#include "base/memory.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/cpu_transform.h"

/* One block of a row. */
static void turn(float *x, size_t n, const uint16_t *before, const uint16_t *after) {
  for (size_t i = 0; before && i < n; i++) x[i] *= sb_grid_from_fp16(before[i]);
  sb_cpu_hadamard_runs(x, n);
  for (size_t i = 0; after && i < n; i++) x[i] *= sb_grid_from_fp16(after[i]);
}

sb_status sb_cpu_hadamard(sb_backend *backend, sb_stream stream, void *dst, const void *src,
                          sb_dtype dtype, size_t T, size_t n, size_t block, const uint16_t *before,
                          const uint16_t *after) {
  (void)stream;
  const int threads = sb_cpu_threads(backend);
  float *rooms = NULL;
  if (!sb_dtype_is_weight(dtype) || block == 0)
    return sb_fail(SB_ERR_INTERNAL, "hadamard: blocks of %zu channels of %s", block,
                   sb_dtype_name(dtype));
  if (dtype != SB_F32)
    SB_TRY(sb_cpu_scratch(backend, SB_CPU_SLOT_THREADS, (size_t)threads * block, sizeof *rooms,
                          &rooms));
  const size_t blocks = sb_div_up(n, block), size = sb_dtype_size(dtype);
#pragma omp parallel for num_threads(threads) schedule(static)
  for (size_t index = 0; index < T * blocks; index++) {
    const size_t c = index % blocks * block, count = sb_min_size(block, n - c),
                 at = index / blocks * n + c;
    float *x = dtype == SB_F32 ? (float *)dst + at : rooms + (size_t)omp_get_thread_num() * block;
    if (x != (const float *)src + at) sb_cpu_to_f32(x, (const char *)src + at * size, dtype, count);
    turn(x, count, before ? before + c : NULL, after ? after + c : NULL);
    if (dtype != SB_F32) sb_cpu_from_f32((char *)dst + at * size, dtype, x, count);
  }
  return SB_OK;
}
