#include "model/ties.h"

/* The role that stands for those that are fused with it. */
static sb_role fused_with(sb_role role) {
  switch (role) {
  case SB_ROLE_K:
  case SB_ROLE_V:
    return SB_ROLE_Q;
  case SB_ROLE_UP:
    return SB_ROLE_GATE;
  default:
    return role;
  }
}

size_t sb_tied_to(const sb_arch *a, size_t layer, size_t m) {
  const size_t first = a->layers[layer].first_matrix;
  const sb_model_tensor *t = &a->tensors[a->matrices[first + m]];
  for (size_t k = 0; k < m; k++) {
    const sb_model_tensor *other = &a->tensors[a->matrices[first + k]];
    if (fused_with(other->role) == fused_with(t->role) && other->expert == t->expert) return k;
  }
  return m;
}

size_t sb_items_of(const sb_arch *a, sb_width_scope scope, uint32_t *item) {
  size_t count = 0;
  for (size_t l = 0; l < a->config.layers; l++) {
    const size_t first = a->layers[l].first_matrix, end = a->layers[l + 1].first_matrix;
    for (size_t m = 0; m < end - first; m++) {
      const size_t k = scope == SB_WIDTH_OF_TIE ? sb_tied_to(a, l, m) : m;
      if (scope == SB_WIDTH_OF_MODEL)
        item[first + m] = 0;
      else
        item[first + m] = k < m ? item[first + k] : (uint32_t)count++;
    }
  }
  return scope == SB_WIDTH_OF_MODEL ? 1 : count;
}
