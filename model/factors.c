#include "model/factors.h"

#include "base/memory.h"
#include "kernels/shared/grid.h"
#include "kernels/shared/transform.h"
#include "kernels/shared/trellis.h"

static void choose_input(sb_model *m, size_t layer, size_t input) {
  const sb_arch_input *in = sb_arch_input_of(&m->arch, layer, input);
  const uint64_t key = sb_model_col_key(layer, input);
  for (size_t c = 0; c < in->width; c++)
    m->col_factors[in->first_channel + c] = sb_grid_to_fp16(sb_transform_sign(key, c));
}

sb_status sb_factors_choose(sb_model *m) {
  sb_free(&m->col_factors);
  if (!sb_is_trellis(m->blocking.code_kind)) return SB_OK;
  SB_AGREE(m->world, sb_alloc(&m->col_factors, m->arch.channels, sizeof *m->col_factors,
                              "factors of columns"));
  for (size_t layer = 0; layer < m->config.layers; layer++)
    for (size_t input = 0; input < sb_arch_inputs(&m->arch, layer); input++)
      choose_input(m, layer, input);
  return SB_OK;
}
