/* Rounding a matrix to the grids of its blocks. */
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/cpu_group.h"

/* dst[0..n) = values in the output's type. */
static void store(void *out, sb_dtype dtype, size_t at, const float *values, size_t n) {
  if (dtype == SB_F32) {
    memcpy((float *)out + at, values, n * sizeof *values);
  } else {
    uint16_t *half = (uint16_t *)out + at;
    for (size_t i = 0; i < n; i++) half[i] = dtype == SB_BF16 ? sb_f32_to_bf16(values[i]) : sb_f32_to_f16(values[i]);
  }
}

static void round_group(void *out, sb_dtype out_dtype, const void *w, sb_dtype w_dtype, size_t at, size_t n, unsigned bits,
                        sb_symmetry symmetry) {
  float values[SB_GROUP_MAX];
  size_t padded = sb_cpu_load_group(values, w, w_dtype, at, n);
  if (bits != 0) {
    sb_group_range range;
    sb_cpu_group_range(values, n, padded, bits == 1, &range);
    const sb_group group = sb_group_choose(&range, bits, symmetry);
    for (size_t i = 0; i < padded; i++) values[i] = sb_group_value(&group, sb_group_code(&group, values[i]));
  }
  store(out, out_dtype, at, values, n);
}

sb_status sb_cpu_quantize_blocks(sb_backend *backend, sb_stream stream, void *out, sb_dtype out_dtype, const void *w, sb_dtype w_dtype,
                                 const sb_grid_shape *grid, const uint8_t *bits, sb_symmetry symmetry) {
  (void)stream;
  size_t block_cols = sb_grid_block_cols(grid);
  if (grid->block_cols > SB_GROUP_MAX)
    return sb_fail(SB_ERR_UNSUPPORTED, "blocks of %zu columns: at most %d are supported", grid->block_cols, SB_GROUP_MAX);
#pragma omp parallel for num_threads(sb_cpu_threads(backend)) schedule(static)
  for (size_t row = 0; row < grid->rows; row++)
    for (size_t j = 0; j < block_cols; j++)
      round_group(out, out_dtype, w, w_dtype, row * grid->cols + j * grid->block_cols, sb_grid_cols_of(grid, j),
                  bits[row / grid->block_rows * block_cols + j], symmetry);
  return SB_OK;
}
