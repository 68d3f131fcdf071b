#include "sensitivity/block_sums.h"

#include <string.h>

#include "base/memory.h"
#include "mpi/exact.h"

struct sb_block_sums {
  const sb_model *model;
  size_t each, owned;
  size_t *layer_start; /* [layers + 1] into the owned blocks */
  size_t most_blocks;  /* of a layer */
  sb_exact *layer;     /* [most_blocks, each] of the layer at hand */
  sb_exact *reduced;   /* [most owned blocks of a layer, each] */
  sb_exact *totals;    /* [owned, each], over all waves: exact until the very end, or their number
                          would show */
  size_t *starts;      /* [ranks + 1] */
};

size_t sb_block_sums_first(const sb_block_sums *s, size_t layer) {
  return sb_model_first_block(s->model, layer);
}

size_t sb_block_sums_layer_blocks(const sb_block_sums *s, size_t layer) {
  return sb_model_first_block(s->model, layer + 1) - sb_model_first_block(s->model, layer);
}

size_t sb_block_sums_most_blocks(const sb_block_sums *s) {
  return s->most_blocks;
}

size_t sb_block_sums_owned(const sb_block_sums *s) {
  return s->owned;
}

size_t sb_block_sums_bytes(const sb_sizes *z, size_t each) {
  const size_t sums = (z->layer.blocks + z->owned_of_a_layer + z->owned) * each;
  return sizeof(sb_block_sums) + sums * sizeof(sb_exact) +
         (z->layers + 1 + z->ranks + 1) * sizeof(size_t);
}

sb_status sb_block_sums_create(const sb_model *m, size_t each, sb_block_sums **out) {
  sb_status status = sb_alloc(out, 1, sizeof **out, "scores");
  if (status != SB_OK) return status;
  sb_block_sums *s = *out;
  size_t most = 0;
  s->model = m;
  s->each = each;
  s->most_blocks = sb_model_most_blocks(m);
  SB_GO(sb_alloc(&s->layer_start, m->config.layers + 1, sizeof(size_t), "scores"));
  for (size_t layer = 0; layer < m->config.layers; layer++) {
    size_t first, end;
    sb_model_owned_blocks(m, layer, m->world->rank, &first, &end);
    s->layer_start[layer + 1] = s->layer_start[layer] + (end - first);
    most = sb_max_size(most, end - first);
  }
  s->owned = s->layer_start[m->config.layers];
  SB_GO(sb_alloc(&s->layer, s->most_blocks * each, sizeof(sb_exact), "scores of a layer"));
  SB_GO(sb_alloc(&s->reduced, most * each, sizeof(sb_exact), "scores of a layer"));
  SB_GO(sb_alloc(&s->totals, s->owned * each, sizeof(sb_exact), "scores"));
  SB_GO(sb_alloc(&s->starts, (size_t)m->world->size + 1, sizeof(size_t), "scores"));
done:
  if (status != SB_OK) sb_block_sums_free(out);
  return status;
}

void sb_block_sums_free(sb_block_sums **sums) {
  sb_block_sums *s = *sums;
  if (!s) return;
  sb_free(&s->layer_start);
  sb_free(&s->layer);
  sb_free(&s->reduced);
  sb_free(&s->totals);
  sb_free(&s->starts);
  sb_free(sums);
}

void sb_block_sums_clear(sb_block_sums *s) {
  memset(s->totals, 0, s->owned * s->each * sizeof *s->totals);
}

void sb_block_sums_begin_layer(sb_block_sums *s) {
  memset(s->layer, 0, s->most_blocks * s->each * sizeof *s->layer);
}

sb_status sb_block_sums_add(sb_block_sums *s, size_t k, size_t i, double value) {
  return sb_exact_add(&s->layer[k * s->each + i], value);
}

/* Adds the reduced sums of one wave to those of the owned blocks. */
sb_status sb_block_sums_overflow(size_t layer) {
  return sb_fail(SB_ERR_NUMERIC,
                 "layer %zu: the gradient overflows at the present bits; start from more bits "
                 "(--start-bits)",
                 layer);
}

sb_status sb_block_sums_end_layer(sb_block_sums *s, size_t layer) {
  const sb_model *m = s->model;
  const size_t base = sb_block_sums_first(s, layer), first_total = s->layer_start[layer] * s->each;
  for (int r = 0; r < m->world->size; r++) {
    size_t first, end;
    sb_model_owned_blocks(m, layer, r, &first, &end);
    s->starts[r] = (first - base) * s->each;
    s->starts[r + 1] = (end - base) * s->each;
  }
  SB_TRY(sb_exact_reduce_scatter(s->reduced, s->layer, s->starts, m->world->comm));
  for (size_t i = first_total; i < s->layer_start[layer + 1] * s->each; i++) {
    s->totals[i].high += s->reduced[i - first_total].high;
    s->totals[i].low += s->reduced[i - first_total].low;
    sb_exact_normalise(&s->totals[i]);
  }
  return SB_OK;
}

double sb_block_sums_value(const sb_block_sums *s, size_t owned, size_t i) {
  return sb_exact_value(&s->totals[owned * s->each + i]);
}
