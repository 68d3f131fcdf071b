#include "model/exl3.h"

#include "base/memory.h"

sb_status sb_exl3_check_sides(const sb_arch *arch) {
  for (size_t i = 0; i < arch->matrix_count; i++) {
    const sb_model_tensor *t = &arch->tensors[arch->matrices[i]];
    if (t->rows % SB_EXL3_RUN != 0 || t->cols % SB_EXL3_RUN != 0)
      return sb_fail(SB_ERR_UNSUPPORTED,
                     "%s is %zux%zu, and EXL3 takes sides that are multiples of %d here; without "
                     "--widths-for exl3 any will do",
                     t->name, t->rows, t->cols, SB_EXL3_RUN);
    if (t->role >= SB_ROLE_GATE && sb_max_size(t->rows, t->cols) > SB_EXL3_MOST_MLP)
      return sb_fail(SB_ERR_UNSUPPORTED,
                     "%s is %zux%zu, and exllamav3 cuts MLPs wider than %d into parts, which is "
                     "not done here; without --widths-for exl3 any will do",
                     t->name, t->rows, t->cols, SB_EXL3_MOST_MLP);
  }
  return SB_OK;
}

unsigned sb_exl3_width(const sb_model *m, const sb_matrix *matrix) {
  return m->bits[matrix->first_block];
}

sb_status sb_exl3_check_widths(const sb_model *m) {
  for (size_t i = 0; i < m->arch.matrix_count; i++) {
    const sb_matrix *matrix = &m->matrices[i];
    const uint8_t *bits = m->bits + matrix->first_block;
    const size_t blocks =
        sb_tiling_block_rows(&matrix->tiling) * sb_tiling_block_cols(&matrix->tiling);
    const char *name = m->arch.tensors[matrix->tensor].name;
    for (size_t b = 0; b < blocks; b++) {
      if (bits[b] == 0)
        return sb_fail(SB_ERR_UNSUPPORTED,
                       "%s has blocks that are not quantized, and EXL3 has none", name);
      if (bits[b] != bits[0])
        return sb_fail(SB_ERR_UNSUPPORTED,
                       "%s has blocks of %d and of %d bits, and EXL3 has one width for each "
                       "matrix; quantize --widths-for exl3 chooses such",
                       name, bits[0], bits[b]);
    }
  }
  return SB_OK;
}
