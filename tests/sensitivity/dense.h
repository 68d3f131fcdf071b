/* Whole matrices of a golden model in plain arrays: as the file has them, and rounded one group at
 * a time. */
#ifndef SB_TESTS_SENSITIVITY_DENSE_H
#define SB_TESTS_SENSITIVITY_DENSE_H

#include "tests/support/golden.h"

#include "io/safetensors.h"
#include "tests/kernels/blocks.h"

/* [rows, cols] of the source, in float32. The caller frees it. */
static inline float *dense_weights(const golden *g, const sb_matrix *matrix) {
  const size_t count = matrix->tiling.rows * matrix->tiling.cols;
  sb_safetensors *file = NULL;
  float *out = calloc(count, sizeof *out);
  void *raw = calloc(count, sizeof *out);
  EXPECT_OK(sb_safetensors_open(g->folder, &file));
  const sb_tensor_info *info =
      sb_safetensors_find(file, g->model->arch.tensors[matrix->tensor].name);
  EXPECT_OK(sb_safetensors_read(file, info, 0, info->bytes, raw));
  sb_to_f32(out, raw, info->dtype, count);
  sb_safetensors_close(&file);
  free(raw);
  return out;
}

/* Q(w) at the model's bits, each changed by `change` (and kept in 1..8). The caller frees it. */
static inline float *dense_rounded(const float *w, const sb_model *m, const sb_matrix *matrix,
                                   int change) {
  const sb_tiling *tiling = &matrix->tiling;
  const size_t blocks = sb_tiling_block_rows(tiling) * sb_tiling_block_cols(tiling);
  float *out = calloc(tiling->rows * tiling->cols, sizeof *out);
  uint8_t *bits = calloc(blocks, 1);
  for (size_t k = 0; k < blocks; k++) {
    const int b = m->bits[matrix->first_block + k] + change;
    bits[k] = (uint8_t)(b < 1 ? 1 : b > 8 ? 8 : b);
  }
  scalar_quantize(out, w, tiling, bits, m->blocking.symmetry);
  free(bits);
  return out;
}

#endif
