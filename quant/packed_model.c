#include "quant/packed_model.h"

#include <string.h>

#include "base/memory.h"
#include "kernels/blockrow.h"
#include "pass/group_walk.h"

static size_t packed_bytes(const void *context, const sb_model *m, const sb_place *place,
                           size_t unit) {
  const sb_model *source = context;
  const sb_model_tensor *t = &m->arch.tensors[place->tensor];
  sb_linear which = sb_linear_of_role(t->role);
  if (which == SB_LINEARS) {
    size_t first, rows;
    sb_place_rows(m, place, unit, &first, &rows);
    return rows * sb_model_row_bytes(m, place->tensor);
  }
  const sb_matrix *matrix = sb_model_matrix(m, t->layer, which);
  const uint8_t *bits =
      source->bits + matrix->first_block + unit * sb_tiling_block_cols(&matrix->grid);
  return sb_blockrow_bytes(&matrix->grid, unit, bits, m->blocking.symmetry);
}

sb_status sb_packed_model_create(const sb_model *source, sb_model **out) {
  const sb_world *world = source->world;
  sb_status status = sb_alloc(out, 1, sizeof **out, "packed model");
  SB_AGREE(world, status);
  sb_model *m = *out;
  m->world = world;
  m->config = source->config;
  m->blocking = source->blocking;
  m->coding = SB_CODING_PACKED;
  status = sb_arch_create(&m->config, &m->arch);
  if (status == SB_OK)
    status = sb_alloc(&m->dtypes, m->arch.count, sizeof *m->dtypes, "element types");
  if (status == SB_OK) memcpy(m->dtypes, source->dtypes, m->arch.count * sizeof *m->dtypes);
  if (status == SB_OK) status = sb_orders_copy(&source->orders, &m->orders);
  SB_AGREE(world, status);
  SB_TRY(sb_model_lay_out(m, packed_bytes, source));
  memcpy(m->bits, source->bits, m->blocks);
  return SB_OK;
}

sb_status sb_packed_model_visit(const sb_model *source, sb_model *packed, size_t group,
                                const void *image, sb_packed_model_visitor visit, void *context) {
  size_t own, end;
  sb_store_owned(packed->store, group, packed->world->rank, &own, &end);
  for (size_t p = packed->group_place[group]; p < packed->group_place[group + 1]; p++) {
    const sb_place *place = &packed->places[p];
    const size_t last = sb_min_size(end, place->first_unit + place->units);
    for (size_t u = sb_max_size(own, place->first_unit); u < last; u++)
      SB_TRY(visit(context, place, u - place->first_unit,
                   (const char *)image + sb_store_offset(source->store, group, u),
                   sb_store_unit(packed->store, group, u)));
  }
  return SB_OK;
}

static sb_status copy_unit(void *context, const sb_place *place, size_t unit, const char *from,
                           uint8_t *to) {
  const sb_model *m = context;
  size_t first, rows;
  if (sb_linear_of_role(m->arch.tensors[place->tensor].role) != SB_LINEARS) return SB_OK;
  sb_place_rows(m, place, unit, &first, &rows);
  memcpy(to, from, rows * sb_model_row_bytes(m, place->tensor));
  return SB_OK;
}

sb_status sb_packed_model_copy(const sb_model *source, sb_model *packed, size_t group,
                               const void *image) {
  return sb_packed_model_visit(source, packed, group, image, copy_unit, packed);
}

/* ---- to nearest ---- */

typedef struct nearest {
  const sb_model *source, *packed;
} nearest;

static sb_status encode_unit(void *context, const sb_place *place, size_t unit, const char *from,
                             uint8_t *to) {
  const nearest *n = context;
  const sb_model *m = n->packed;
  const sb_model_tensor *t = &m->arch.tensors[place->tensor];
  const sb_linear which = sb_linear_of_role(t->role);
  if (which == SB_LINEARS) return SB_OK;
  const sb_matrix *matrix = sb_model_matrix(m, t->layer, which);
  sb_blockrow_encode(to, from, m->dtypes[place->tensor], &matrix->grid, unit,
                     m->bits + matrix->first_block + unit * sb_tiling_block_cols(&matrix->grid),
                     m->blocking.symmetry, sb_model_importance(n->source, t->layer, which));
  return SB_OK;
}

static sb_status fill_nearest(sb_model *source, sb_model *packed) {
  nearest n = {source, packed};
  sb_group_walk walk = sb_group_walk_begin(source->store, 0, source->groups, false);
  while (sb_group_walk_more(&walk)) {
    size_t group;
    const void *image;
    SB_TRY(sb_group_walk_enter(&walk, &group, &image));
    SB_TRY(sb_packed_model_copy(source, packed, group, image));
    SB_TRY(sb_packed_model_visit(source, packed, group, image, encode_unit, &n));
    SB_TRY(sb_group_walk_leave(&walk));
  }
  return SB_OK;
}

sb_status sb_packed_model_nearest(sb_model *source, sb_model **out) {
  sb_status status = sb_packed_model_create(source, out);
  return status == SB_OK ? fill_nearest(source, *out) : status;
}
