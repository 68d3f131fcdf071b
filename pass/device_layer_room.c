#include "pass/device_layer_room.h"

#include "base/memory.h"
#include "kernels/shared/trellis.h"

const void *sb_place_image(const sb_model *m, const sb_place *place, const void *image) {
  return (const char *)image + sb_store_offset(m->store, place->group, place->first_unit);
}

size_t sb_place_bytes(const sb_model *m, const sb_place *place) {
  return sb_store_offset(m->store, place->group, place->first_unit + place->units) -
         sb_store_offset(m->store, place->group, place->first_unit);
}

sb_status sb_place_offsets(const sb_model *m, const sb_place *place, size_t **out) {
  const size_t start = sb_store_offset(m->store, place->group, place->first_unit);
  SB_TRY(sb_alloc(out, place->units, sizeof **out, "offsets of packed rows"));
  for (size_t u = 0; u < place->units; u++)
    (*out)[u] = sb_store_offset(m->store, place->group, place->first_unit + u) - start;
  return SB_OK;
}

sb_device_layer_room sb_device_layer_room_of(const sb_model *m, size_t number) {
  const size_t first = m->group_place[m->layer_first],
               end = m->group_place[m->layer_first + m->config.layers];
  sb_device_layer_room most = {0};
  for (size_t i = first; i < end; i++) {
    const sb_place *place = &m->places[i];
    const sb_tiling *t;
    if (m->arch.tensors[place->tensor].matrix != number) continue;
    t = &sb_model_place_matrix(m, place)->tiling;
    most.rows = sb_max_size(most.rows, t->rows);
    most.cols = sb_max_size(most.cols, t->cols);
    most.weights = sb_max_size(most.weights, t->rows * t->cols);
    most.groups = sb_max_size(most.groups, t->rows * sb_tiling_block_cols(t));
    most.source_bytes = sb_max_size(most.source_bytes, sb_place_bytes(m, place));
  }
  return most;
}

size_t sb_device_layer_longest_vector(const sb_arch *arch) {
  size_t longest = 0;
  for (size_t i = arch->layers[0].first_tensor; i < arch->count; i++)
    if (!arch->tensors[i].is_linear) longest = sb_max_size(longest, arch->tensors[i].cols);
  return longest;
}

size_t sb_device_layer_vector(const sb_arch *arch, sb_role role) {
  return sb_role_is_vector(role) ? sb_arch_most_cols(arch, role) : 0;
}

bool sb_device_layer_copies_factors(const sb_model *m, const sb_backend *b) {
  return !b->unified && sb_is_trellis(m->blocking.code_kind);
}

bool sb_model_is_indexed(const sb_model *m) {
  return m->orders.mode == SB_REORDER_INDEXED;
}
