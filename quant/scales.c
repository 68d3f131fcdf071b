#include "quant/scales.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "kernels/blockrow.h"
#include "kernels/shared/grid.h"

/* Means over few steps, because training has few. */
static const double BETA_MEAN = 0.9, BETA_SQUARE = 0.99, EPSILON = 1e-12;

/* The training state of a group. */
typedef struct state {
  uint16_t scale, base; /* as they were before training, fp16 */
  float shift;          /* of the logarithm of both */
  float mean, square;   /* of gradients */
} state;

struct sb_scales {
  sb_model *m;
  size_t *before; /* [layers + 1] */
  state *groups;
  unsigned steps;
};

/* Groups of a layer in the units before `end` of its image. */
static size_t groups_before(const sb_model *m, size_t layer, size_t end) {
  const size_t image = m->layer_first + layer;
  size_t groups = 0;
  for (size_t i = m->group_place[image]; i < m->group_place[image + 1]; i++) {
    const sb_place *place = &m->places[i];
    const sb_matrix *matrix = sb_model_place_matrix(m, place);
    if (!matrix || end <= place->first_unit) continue;
    const size_t rows = (end - place->first_unit) * matrix->tiling.block_rows;
    groups += sb_min_size(rows, matrix->tiling.rows) * sb_tiling_block_cols(&matrix->tiling);
  }
  return groups;
}

void sb_scales_owners(const sb_scales *s, size_t layer, size_t *starts) {
  starts[0] = 0;
  for (int r = 0; r < s->m->world->size; r++) {
    size_t first, end;
    sb_store_owned(s->m->store, s->m->layer_first + layer, r, &first, &end);
    starts[r + 1] = groups_before(s->m, layer, end);
  }
}

size_t sb_scales_layers(const sb_scales *s) {
  return s->m->config.layers;
}

size_t sb_scales_before(const sb_scales *s, size_t layer) {
  return s->before[layer];
}

/* The work on one group: its state, its width, where its scale lies, and its base or NULL. */
typedef void (*group_work)(state *group, unsigned bits, uint8_t *scale, uint8_t *base,
                           double gradient, const void *how);

/* A walk over this rank's groups; `at` is the first of the block row at hand. */
typedef struct walk {
  const sb_scales *scales;
  const float *gradients; /* or NULL */
  group_work work;
  const void *how;
  size_t at, across; /* across: blocks of the row */
  uint8_t *row;
  const uint8_t *bits; /* [across] */
} walk;

static void visit_group(void *context, size_t r, size_t j, size_t scale, size_t base) {
  const walk *w = context;
  const size_t k = w->at + r * w->across + j;
  w->work(&w->scales->groups[k], sb_alphabet_width(w->bits[j]), w->row + scale,
          base == SIZE_MAX ? NULL : w->row + base, w->gradients ? (double)w->gradients[k] : 0,
          w->how);
}

static sb_status visit_unit(void *context, sb_model *m, const sb_place *place, size_t unit,
                            void *data) {
  walk *w = context;
  const sb_matrix *matrix = sb_model_place_matrix(m, place);
  if (!matrix) return SB_OK;
  w->across = sb_tiling_block_cols(&matrix->tiling);
  w->row = data;
  w->bits = m->bits + matrix->first_block + unit * w->across;
  sb_blockrow_scales(&matrix->tiling, unit, w->bits, m->blocking.code_kind, visit_group, w);
  w->at += sb_tiling_rows_of(&matrix->tiling, unit) * w->across;
  return SB_OK;
}

static void each_group(sb_scales *s, const float *gradients, group_work work, const void *how) {
  walk w = {.scales = s, .gradients = gradients, .work = work, .how = how};
  (void)sb_model_visit_owned(s->m, visit_unit, &w); /* its visitor does not fail */
}

static void read_group(state *g, unsigned bits, uint8_t *scale, uint8_t *base, double gradient,
                       const void *how) {
  (void)bits, (void)gradient, (void)how;
  memcpy(&g->scale, scale, sizeof g->scale);
  if (base) memcpy(&g->base, base, sizeof g->base);
}

size_t sb_scales_bytes(const sb_sizes *z) {
  return sizeof(sb_scales) + z->owned_groups * sizeof(state) + (z->layers + 1) * sizeof(size_t);
}

sb_status sb_scales_create(sb_model *coded, sb_scales **out) {
  sb_status status = SB_OK;
  SB_GO(sb_alloc(out, 1, sizeof **out, "scales"));
  sb_scales *s = *out;
  const size_t layers = coded->config.layers;
  s->m = coded;
  SB_GO(sb_alloc(&s->before, layers + 1, sizeof *s->before, "scales"));
  for (size_t layer = 0; layer < layers; layer++) {
    size_t first, end;
    sb_store_owned(coded->store, coded->layer_first + layer, coded->world->rank, &first, &end);
    s->before[layer + 1] =
        s->before[layer] + groups_before(coded, layer, end) - groups_before(coded, layer, first);
  }
  SB_GO(sb_alloc(&s->groups, s->before[layers], sizeof *s->groups, "scales"));
  each_group(s, NULL, read_group, NULL);
done:
  status = sb_world_agree(coded->world, status);
  if (status != SB_OK) sb_scales_free(out);
  return status;
}

void sb_scales_free(sb_scales **scales) {
  sb_scales *s = *scales;
  if (!s) return;
  sb_free(&s->before);
  sb_free(&s->groups);
  sb_free(scales);
}

/* What a step has in common for all groups: the rate, and Adam's corrections for means that began
 * at 0. */
typedef struct step {
  double rate, of_mean, of_square;
} step;

static void put(uint8_t *to, uint16_t was, double factor) {
  const float value = sb_grid_fp16((float)((double)sb_grid_from_fp16(was) * factor));
  const uint16_t now = sb_grid_to_fp16(value);
  memcpy(to, &now, sizeof now);
}

/* Into the packed row. */
static void write_group(state *g, unsigned bits, uint8_t *scale, uint8_t *base, double gradient,
                        const void *how) {
  (void)bits, (void)gradient, (void)how;
  const double factor = exp((double)g->shift);
  put(scale, g->scale, factor);
  if (base) put(base, g->base, factor);
}

static void move_group(state *g, unsigned bits, uint8_t *scale, uint8_t *base, double gradient,
                       const void *how) {
  const step *s = how;
  const double rate = s->rate / (double)(1u << (bits - 1));
  g->mean = (float)(BETA_MEAN * (double)g->mean + (1 - BETA_MEAN) * gradient);
  g->square = (float)(BETA_SQUARE * (double)g->square + (1 - BETA_SQUARE) * gradient * gradient);
  g->shift -= (float)(rate * (double)g->mean * s->of_mean /
                      (sqrt((double)g->square * s->of_square) + EPSILON));
  write_group(g, bits, scale, base, gradient, how);
}

uint8_t *sb_scales_state(sb_scales *s) {
  _Static_assert(sizeof *s->groups == SB_SCALES_STATE_BYTES, "what is saved of a group");
  return (uint8_t *)s->groups;
}

void sb_scales_restore(sb_scales *s, size_t steps) {
  s->steps = (unsigned)steps;
  each_group(s, NULL, write_group, NULL);
}

static void reset_group(state *g, unsigned bits, uint8_t *scale, uint8_t *base, double gradient,
                        const void *how) {
  g->shift = g->mean = g->square = 0;
  write_group(g, bits, scale, base, gradient, how);
}

void sb_scales_reset(sb_scales *s) {
  s->steps = 0;
  each_group(s, NULL, reset_group, NULL);
}

void sb_scales_step(sb_scales *s, const float *gradients, double rate) {
  s->steps++;
  const step how = {rate, 1 / (1 - pow(BETA_MEAN, s->steps)), 1 / (1 - pow(BETA_SQUARE, s->steps))};
  each_group(s, gradients, move_group, &how);
}
