/* Whole matrices of a golden model in plain arrays: as the file has them, and rounded one group at
 * a time. */
#ifndef SB_TESTS_SUPPORT_DENSE_H
#define SB_TESTS_SUPPORT_DENSE_H

#include "tests/support/golden.h"

#include "io/safetensors.h"
#include "tests/kernels/blocks.h"

/* A tensor of the folder as its file has it, in float32. The caller frees it. */
static inline float *dense_named(const golden *g, const char *name) {
  sb_safetensors *file = NULL;
  EXPECT_OK(sb_safetensors_open(g->folder, &file));
  const sb_tensor_info *info = sb_safetensors_find(file, name);
  EXPECT(info != NULL);
  const size_t count = info->bytes / sb_dtype_size(info->dtype);
  float *out = calloc(count, sizeof *out);
  void *raw = malloc(info->bytes);
  EXPECT_OK(sb_safetensors_read(file, info, 0, info->bytes, raw));
  sb_to_f32(out, raw, info->dtype, count);
  sb_safetensors_close(&file);
  free(raw);
  return out;
}

/* [rows, cols] of a matrix of the source, in float32. The caller frees it. */
static inline float *dense_weights(const golden *g, const sb_matrix *matrix) {
  return dense_named(g, g->model->arch.tensors[matrix->tensor].name);
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
  scalar_quantize(out, w, tiling, bits, sb_model_code_kind(m, matrix));
  free(bits);
  return out;
}

#endif
