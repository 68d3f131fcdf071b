#include "model/effective_bits.h"

#include "kernels/blockrow.h"

double sb_effective_bits_uniform(const sb_arch *arch, size_t block_rows, size_t block_cols,
                                 unsigned bits, sb_symmetry symmetry) {
  uint64_t bytes = 0, weights = 0;
  for (size_t i = 0; i < arch->matrix_count; i++) {
    const sb_model_tensor *t = &arch->tensors[arch->matrices[i]];
    const sb_tiling tiling = {t->rows, t->cols, block_rows, block_cols};
    for (size_t r = 0; r < sb_tiling_block_rows(&tiling); r++) {
      bytes += sb_blockrow_map_bytes(&tiling);
      for (size_t c = 0; c < sb_tiling_block_cols(&tiling); c++)
        bytes += sb_block_bytes(sb_tiling_rows_of(&tiling, r), sb_tiling_cols_of(&tiling, c), bits,
                                symmetry);
    }
    weights += (uint64_t)t->rows * t->cols;
  }
  return 8.0 * (double)bytes / (double)weights;
}

double sb_model_order_bits(const sb_model *m, sb_reorder mode) {
  return 8.0 * (double)sb_orders_stored_bytes(&m->arch, mode, m->blocking.rows, m->blocking.cols) /
         (double)m->arch.linear_parameters;
}

double sb_model_uniform_bits(const sb_model *m, unsigned bits) {
  return sb_effective_bits_uniform(&m->arch, m->blocking.rows, m->blocking.cols, bits,
                                   m->blocking.symmetry) +
         sb_model_order_bits(m, m->orders.mode);
}
