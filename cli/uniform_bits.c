#include "cli/uniform_bits.h"

#include "base/memory.h"

double sb_uniform_effective_bits(const sb_arch *arch, size_t block_rows, size_t block_cols, unsigned bits,
                                 sb_symmetry symmetry) {
  double groups = 0.0, blocks = 0.0, weights = 0.0;
  for (size_t role = SB_ROLE_INPUT_NORM; role < SB_ROLE_COUNT; role++) { /* layers are alike */
    const sb_model_tensor *t = sb_arch_tensor(arch, (sb_role)role, 0);
    if (!t->is_linear) continue;
    size_t across = sb_div_up(t->cols, block_cols);
    groups += (double)(t->rows * across);
    blocks += (double)(sb_div_up(t->rows, block_rows) * across);
    weights += (double)(t->rows * t->cols);
  }
  double zero = symmetry == SB_SYMMETRIC ? 0.0 : bits == 1 ? 16.0 : (double)bits;
  return (double)bits + ((16.0 + zero) * groups + 8.0 * blocks) / weights;
}
