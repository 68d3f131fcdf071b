#include "train/shares.h"

#include "base/memory.h"
#include "model/chunks.h"

static sb_status take_unit(void *context, sb_model *m, const sb_place *place, size_t unit,
                           void *data) {
  sb_shares *s = context;
  sb_share *u = &s->units[s->count++];
  *u = (sb_share){.master = data, .tensor = place->tensor, .first = s->elements};
  sb_place_rows(m, place, unit, &u->first_row, &u->rows);
  u->count = u->rows * m->arch.tensors[place->tensor].cols;
  s->elements += u->count;
  s->before[place->group + 1] += u->count;
  return SB_OK;
}

sb_status sb_shares_create(sb_model *m, sb_shares *s) {
  const size_t units = sb_model_owned_units(m);
  *s = (sb_shares){.model = m};
  for (size_t i = 0; i < m->arch.count; i++)
    if (m->dtypes[i] != SB_F32 || m->coding != SB_CODING_SOURCE)
      return sb_fail(SB_ERR_INTERNAL, "%s is trained, but is not f32", m->arch.tensors[i].name);
  SB_TRY(sb_alloc(&s->units, units, sizeof *s->units, "units of this rank"));
  SB_TRY(sb_alloc(&s->before, m->groups + 1, sizeof *s->before, "units of this rank"));
  SB_TRY(sb_model_visit_owned(m, take_unit, s));
  for (size_t g = 0; g < m->groups; g++) s->before[g + 1] += s->before[g];
  return SB_OK;
}

void sb_shares_free(sb_shares *s) {
  sb_free(&s->units);
  sb_free(&s->before);
}

size_t sb_shares_bytes(const sb_share_sizes *z) {
  return z->units * sizeof(sb_share) + (z->groups + 1) * sizeof(size_t);
}

sb_share_sizes sb_shares_sizes(const sb_shares *s) {
  return (sb_share_sizes){.ranks = (size_t)s->model->world->size,
                          .groups = s->model->groups,
                          .units = s->count,
                          .elements = s->elements,
                          .largest_group = sb_shares_largest_group(s),
                          .most_of_a_group = sb_shares_most_of_a_group(s)};
}

void sb_shares_starts(const sb_shares *s, size_t group, size_t *starts) {
  const sb_model *m = s->model;
  size_t first, end;
  starts[0] = 0;
  for (int r = 0; r < m->world->size; r++) {
    sb_store_owned(m->store, group, r, &first, &end);
    starts[r + 1] = sb_store_offset(m->store, group, end) / sizeof(float);
  }
}

static const sb_place *chunk_place(const sb_model *m, size_t first, size_t count,
                                   size_t first_row) {
  for (size_t g = first; g < first + count; g++) {
    const sb_place *place = &m->places[m->group_place[g]];
    if (place->first_row == first_row) return place;
  }
  return NULL;
}

static const sb_place *place_of(const sb_model *m, size_t tensor, size_t first_row) {
  const sb_model_tensor *t = &m->arch.tensors[tensor];
  if (t->layer != SB_NONE)
    return &m->places[m->group_place[m->layer_first + t->layer] + tensor -
                      m->arch.layers[t->layer].first_tensor];
  if (t->role == SB_ROLE_EMBED) return chunk_place(m, m->embed_first, m->embed_count, first_row);
  if (t->role == SB_ROLE_LM_HEAD) return chunk_place(m, m->head_first, m->head_count, first_row);
  return &m->places[m->group_place[m->norm_group]];
}

size_t sb_shares_locate(const sb_shares *s, size_t tensor, size_t first_row, size_t *group) {
  const sb_place *place = place_of(s->model, tensor, first_row);
  *group = place->group;
  return sb_store_offset(s->model->store, place->group, place->first_unit) / sizeof(float);
}

static size_t units_of_group(const sb_model *m, size_t group) {
  const sb_place *last = &m->places[m->group_place[group + 1] - 1];
  return last->first_unit + last->units;
}

size_t sb_shares_largest_group(const sb_shares *s) {
  const sb_model *m = s->model;
  size_t most = 0;
  for (size_t g = 0; g < m->groups; g++)
    most = sb_max_size(most, sb_store_offset(m->store, g, units_of_group(m, g)) / sizeof(float));
  return most;
}

size_t sb_shares_most_of_a_group(const sb_shares *s) {
  size_t most = 0;
  for (size_t g = 0; g < s->model->groups; g++)
    most = sb_max_size(most, s->before[g + 1] - s->before[g]);
  return most;
}

static size_t layer_elements(const sb_arch *arch, size_t layer) {
  size_t elements = 0;
  for (size_t i = arch->layers[layer].first_tensor; i < arch->layers[layer + 1].first_tensor; i++)
    elements += arch->tensors[i].rows * arch->tensors[i].cols;
  return elements;
}

sb_share_sizes sb_share_sizes_even(const sb_arch *arch, const sb_blocking *blocking, size_t ranks) {
  const sb_config *c = &arch->config;
  size_t largest = 0, units = 0, widest = 0;
  for (size_t layer = 0; layer < c->layers; layer++)
    largest = sb_max_size(largest, layer_elements(arch, layer));
  for (size_t i = 0; i < arch->count; i++) {
    const sb_model_tensor *t = &arch->tensors[i];
    units += t->dims == 1 ? 1 : sb_div_up(t->rows, blocking->rows);
    widest = sb_max_size(widest, t->cols);
  }
  const size_t rows = sb_chunk_rows(c->vocab, c->hidden * sizeof(float), largest * sizeof(float),
                                    blocking->rows),
               tables = c->tie_embeddings ? 1 : 2, unit = ranks > 1 ? blocking->rows * widest : 0;
  const size_t groups = c->layers + 1 + tables * sb_div_up(c->vocab, rows);
  largest = sb_max_size(largest, sb_min_size(rows, c->vocab) * c->hidden);
  return (sb_share_sizes){.ranks = ranks,
                          .groups = groups,
                          .units = sb_div_up(units, ranks) + (ranks > 1 ? groups : 0),
                          .elements = sb_div_up(arch->parameters, ranks) + unit,
                          .largest_group = largest,
                          .most_of_a_group = sb_div_up(largest, ranks) + unit};
}
