#include "sensitivity/reorder.h"

#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "folders/hf_load.h"
#include "kernels/shared/grid.h"
#include "model/effective_bits.h"

unsigned sb_reorder_width(const sb_model *m, sb_reorder mode, double bits) {
  const double left = bits - sb_model_order_bits(m, mode);
  unsigned width = SB_MAX_BITS;
  while (width > 2 && sb_model_uniform_bits(m, width) > left) width--;
  return width;
}

sb_status sb_reorder_find(sb_model *m, sb_backend *backend, const sb_sequences *calibration,
                          const sb_reorder_options *o, sb_reorder_result *result, sb_orders *orders,
                          sb_orders *indexed) {
  sb_pass_setup setup = sb_sequences_setup(calibration, m, backend, o->activation_bytes, o->ticker);
  setup.gradients = true;
  sb_pass *pass = NULL;
  sb_channels *channels = NULL;
  const double start = sb_now();
  *result = (sb_reorder_result){0};
  result->width = sb_reorder_width(m, o->mode, o->bits);
  memset(m->bits, (int)result->width, m->blocks);
  sb_status status = sb_pass_create(&setup, &pass);
  SB_THEN(sb_channels_measure(pass, m, backend, o->score, &result->loss, &channels));
  sb_pass_free(&pass);
  result->gradient_seconds = sb_now() - start;
  if (status == SB_OK) {
    result->score_seconds = sb_channels_seconds(channels);
    status = sb_channels_orders(channels, o->mode, orders);
    if (status == SB_OK && indexed)
      status = sb_channels_orders(channels, SB_REORDER_INDEXED, indexed);
  }
  sb_channels_free(&channels);
  return status;
}

/* The importance of input channels, measured in the file's order, for a model whose
 * columns are in another. */
static sb_status order_importance(sb_model *m, const float *importance) {
  const sb_arch *arch = &m->arch;
  SB_TRY(sb_alloc_raw(&m->importance, arch->channels, sizeof *importance,
                      "importance of input channels"));
  for (size_t layer = 0; layer < m->config.layers; layer++)
    for (size_t i = 0; i < sb_arch_inputs(arch, layer); i++) {
      const sb_arch_input *in = sb_arch_input_of(arch, layer, i);
      const float *from = importance + in->first_channel;
      const uint32_t *order =
          sb_orders_cols(&m->orders, sb_model_matrix(m, layer, in->first_matrix)->tensor);
      for (size_t k = 0; k < in->width; k++)
        m->importance[in->first_channel + k] = from[order ? order[k] : k];
    }
  return SB_OK;
}

sb_status sb_reorder_reload(sb_model **model, const char *folder, const sb_orders *orders) {
  const sb_world *world = (*model)->world;
  const sb_blocking blocking = (*model)->blocking;
  float *importance = (*model)->importance;
  (*model)->importance = NULL;
  sb_model_free(model);
  sb_status status = sb_hf_load_ordered(world, folder, blocking, false, orders, model);
  if (status == SB_OK && importance)
    status = sb_world_agree(world, order_importance(*model, importance));
  sb_free(&importance);
  return status;
}

sb_status sb_reorder_model(sb_model **model, const char *folder, sb_backend *backend,
                           const sb_sequences *calibration, const sb_reorder_options *o,
                           sb_reorder_result *result) {
  sb_orders orders = {0};
  sb_status status = sb_reorder_find(*model, backend, calibration, o, result, &orders, NULL);
  SB_THEN(sb_reorder_reload(model, folder, &orders));
  sb_orders_free(&orders);
  return status;
}
