#include "model/sizes.h"

#include "base/memory.h"

static size_t groups_of(const sb_tiling *t) {
  return t->rows * sb_tiling_block_cols(t);
}

static size_t blocks_of(const sb_tiling *t) {
  return sb_tiling_block_rows(t) * sb_tiling_block_cols(t);
}

static void add_matrix(const sb_tiling *t, sb_layer_sizes *s) {
  const size_t weights = t->rows * t->cols;
  s->weights += weights;
  s->largest = sb_max_size(s->largest, weights);
  s->blocks += blocks_of(t);
  s->groups += groups_of(t);
  s->rows += t->rows;
  s->cols += t->cols;
  s->tallest = sb_max_size(s->tallest, t->rows);
}

static void add_input(size_t channels, size_t sharing, size_t block_cols, sb_layer_sizes *s) {
  s->channels += channels;
  s->widest = sb_max_size(s->widest, channels);
  s->sharing = sb_max_size(s->sharing, sharing);
  s->squares += channels * channels;
  s->grams += sb_grams_count(channels, block_cols);
}

static sb_layer_sizes sizes_of_layer(const sb_arch *arch, const sb_blocking *blocking,
                                     size_t layer) {
  sb_layer_sizes s = {0};
  for (size_t i = 0; i < sb_arch_matrices(arch, layer); i++) {
    const sb_model_tensor *t = sb_arch_matrix(arch, layer, i);
    add_matrix(&(sb_tiling){t->rows, t->cols, blocking->rows, blocking->cols}, &s);
  }
  for (size_t i = arch->layers[layer].first_tensor; i < arch->layers[layer + 1].first_tensor; i++)
    s.vectors += arch->tensors[i].dims == 1 ? arch->tensors[i].cols : 0;
  for (size_t input = 0; input < sb_arch_inputs(arch, layer); input++) {
    size_t sharing = 0;
    for (size_t i = 0; i < sb_arch_matrices(arch, layer); i++) {
      const sb_model_tensor *t = sb_arch_matrix(arch, layer, i);
      if (t->input == input) sharing += t->rows * t->cols;
    }
    add_input(sb_arch_input_of(arch, layer, input)->width, sharing, blocking->cols, &s);
  }
  return s;
}

static void keep_greater(const sb_layer_sizes *s, sb_layer_sizes *most) {
  const size_t *from = (const size_t *)s;
  size_t *to = (size_t *)most;
  for (size_t i = 0; i < sizeof *s / sizeof *from; i++) to[i] = sb_max_size(to[i], from[i]);
}

sb_sizes sb_sizes_even(const sb_arch *arch, const sb_blocking *blocking, size_t ranks) {
  sb_sizes out = {
      .arch = arch, .blocking = *blocking, .ranks = ranks, .layers = arch->config.layers};
  size_t rows = 0, vectors = arch->config.hidden;
  for (size_t layer = 0; layer < out.layers; layer++) {
    const sb_layer_sizes s = sizes_of_layer(arch, blocking, layer);
    rows += s.rows;
    vectors += s.vectors;
    out.blocks += s.blocks;
    out.groups += s.groups;
    out.channels += s.channels;
    keep_greater(&s, &out.layer);
  }
  for (size_t i = 0; i < (arch->config.tie_embeddings ? 1 : SB_TABLES); i++) {
    out.table_groups[i] = arch->config.vocab * sb_div_up(arch->config.hidden, blocking->cols);
    out.owned_table_groups[i] = sb_div_up(out.table_groups[i], ranks);
  }
  out.owned = sb_div_up(out.blocks, ranks);
  out.owned_of_a_layer = sb_div_up(out.layer.blocks, ranks);
  out.owned_groups = sb_div_up(out.groups, ranks);
  out.owned_groups_of_a_layer = sb_div_up(out.layer.groups, ranks);
  out.owned_rows = sb_div_up(rows, ranks);
  out.owned_rows_of_a_layer = sb_div_up(out.layer.rows, ranks);
  out.owned_vectors = sb_div_up(vectors, ranks);
  out.owned_vectors_of_a_layer = /* a norm has one owner */
      sb_max_size(sb_div_up(out.layer.vectors, ranks), arch->config.hidden);
  return out;
}

/* What this rank owns of a group of the store. */
typedef struct share {
  size_t blocks, groups, rows, vectors;
} share;

static share share_of(const sb_model *m, size_t group) {
  share own = {0};
  size_t first, end;
  sb_store_owned(m->store, group, m->world->rank, &first, &end);
  for (size_t i = m->group_place[group]; i < m->group_place[group + 1]; i++) {
    const sb_place *place = &m->places[i];
    const sb_matrix *matrix = sb_model_place_matrix(m, place);
    const size_t from = sb_max_size(first, place->first_unit),
                 to = sb_min_size(end, place->first_unit + place->units);
    if (from >= to) continue;
    if (!matrix) {
      own.vectors += m->arch.tensors[place->tensor].cols;
      continue;
    }
    const sb_tiling *t = &matrix->tiling;
    const size_t row = (from - place->first_unit) * t->block_rows,
                 rows = sb_min_size((to - place->first_unit) * t->block_rows, place->rows) - row;
    own.rows += rows;
    own.groups += rows * sb_tiling_block_cols(t);
    own.blocks += (to - from) * sb_tiling_block_cols(t);
  }
  return own;
}

static void add_share(share own, sb_sizes *out) {
  out->owned += own.blocks;
  out->owned_groups += own.groups;
  out->owned_rows += own.rows;
  out->owned_vectors += own.vectors;
  out->owned_of_a_layer = sb_max_size(out->owned_of_a_layer, own.blocks);
  out->owned_groups_of_a_layer = sb_max_size(out->owned_groups_of_a_layer, own.groups);
  out->owned_rows_of_a_layer = sb_max_size(out->owned_rows_of_a_layer, own.rows);
  out->owned_vectors_of_a_layer = sb_max_size(out->owned_vectors_of_a_layer, own.vectors);
}

sb_sizes sb_model_sizes(const sb_model *m) {
  sb_sizes out = sb_sizes_even(&m->arch, &m->blocking, (size_t)m->world->size);
  out.owned = out.owned_of_a_layer = out.owned_groups = out.owned_groups_of_a_layer = 0;
  out.owned_rows = out.owned_rows_of_a_layer = out.owned_vectors = out.owned_vectors_of_a_layer = 0;
  for (size_t layer = 0; layer < out.layers; layer++)
    add_share(share_of(m, m->layer_first + layer), &out);
  add_share(share_of(m, m->norm_group), &out);
  for (size_t i = 0; i < SB_TABLES; i++) {
    const sb_table *table = &m->tables[i];
    out.owned_table_groups[i] = 0;
    if (!table->coded) out.table_groups[i] = 0;
    for (size_t k = 0; table->coded && k < table->count; k++)
      out.owned_table_groups[i] += share_of(m, table->group + k).groups;
  }
  return out;
}
