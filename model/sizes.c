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
  for (size_t layer = 0; layer < out.layers; layer++) {
    const sb_layer_sizes s = sizes_of_layer(arch, blocking, layer);
    out.blocks += s.blocks;
    out.groups += s.groups;
    out.channels += s.channels;
    keep_greater(&s, &out.layer);
  }
  out.owned = sb_div_up(out.blocks, ranks);
  out.owned_of_a_layer = sb_div_up(out.layer.blocks, ranks);
  out.owned_groups = sb_div_up(out.groups, ranks);
  out.owned_groups_of_a_layer = sb_div_up(out.layer.groups, ranks);
  return out;
}

/* Groups in the blocks [first, end) of a layer, which are whole block rows of its matrices. */
static size_t groups_between(const sb_model *m, size_t layer, size_t first, size_t end) {
  size_t groups = 0;
  for (size_t which = 0; which < sb_arch_matrices(&m->arch, layer); which++) {
    const sb_matrix *matrix = sb_model_matrix(m, layer, which);
    const size_t across = sb_tiling_block_cols(&matrix->tiling);
    for (size_t i = 0; i < sb_tiling_block_rows(&matrix->tiling); i++) {
      const size_t block = matrix->first_block + i * across;
      if (block >= first && block < end) groups += sb_tiling_rows_of(&matrix->tiling, i) * across;
    }
  }
  return groups;
}

sb_sizes sb_model_sizes(const sb_model *m) {
  sb_sizes out = sb_sizes_even(&m->arch, &m->blocking, (size_t)m->world->size);
  out.owned = out.owned_of_a_layer = out.owned_groups = out.owned_groups_of_a_layer = 0;
  for (size_t layer = 0; layer < out.layers; layer++) {
    size_t first, end;
    sb_model_owned_blocks(m, layer, m->world->rank, &first, &end);
    out.owned += end - first;
    out.owned_of_a_layer = sb_max_size(out.owned_of_a_layer, end - first);
    const size_t groups = groups_between(m, layer, first, end);
    out.owned_groups += groups;
    out.owned_groups_of_a_layer = sb_max_size(out.owned_groups_of_a_layer, groups);
  }
  return out;
}
