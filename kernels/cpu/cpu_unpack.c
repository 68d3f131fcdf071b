/* Packed block rows to weights. */
#include <omp.h>

#include "kernels/blockrow.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/cpu_group.h"

sb_status sb_cpu_unpack_blocks(sb_backend *backend, sb_stream stream, void *out, sb_dtype out_dtype, const uint8_t *packed,
                               const size_t *offsets, const sb_grid_shape *grid, const uint8_t *bits, sb_symmetry symmetry) {
  (void)stream;
  (void)bits; /* a block row carries its own bit map */
  size_t block_rows = sb_grid_block_rows(grid), row_elements = grid->block_rows * grid->cols;
  float *scratch = NULL;
  int threads = sb_cpu_threads(backend);
  if (out_dtype != SB_F32) SB_TRY(sb_cpu_scratch(backend, SB_CPU_SLOT_THREADS, (size_t)threads * row_elements, sizeof(float), &scratch));
#pragma omp parallel num_threads(threads)
  {
    float *own = scratch ? scratch + (size_t)omp_get_thread_num() * row_elements : NULL;
#pragma omp for schedule(static)
    for (size_t i = 0; i < block_rows; i++) {
      size_t at = i * row_elements, count = sb_grid_rows_of(grid, i) * grid->cols;
      sb_blockrow_decode(own ? own : (float *)out + at, packed + offsets[i], grid, i, symmetry);
      for (size_t e = 0; own && e < count; e++)
        ((uint16_t *)out)[at + e] = out_dtype == SB_BF16 ? sb_f32_to_bf16(own[e]) : sb_f32_to_f16(own[e]);
    }
  }
  return SB_OK;
}
