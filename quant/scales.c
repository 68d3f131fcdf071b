#include "quant/scales.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "kernels/shared/blockrow_layout.h"

/* Means of few steps: there are few. */
static const double BETA_MEAN = 0.9, BETA_SQUARE = 0.99, EPSILON = 1e-12;

typedef struct trained {
  uint16_t scale, base; /* as they were before training, fp16 */
  float shift;          /* of the logarithm of both */
  float mean, square;   /* of gradients */
} trained;

struct sb_scales {
  sb_model *m;
  size_t *before; /* [layers + 1] */
  trained *groups;
  unsigned steps;
};

/* Groups of a layer in the units before `end` of its image. */
static size_t groups_before(const sb_model *m, size_t layer, size_t end) {
  const size_t group = m->layer_first + layer;
  size_t groups = 0;
  for (size_t i = m->group_place[group]; i < m->group_place[group + 1]; i++) {
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

/* A row of a block of so many bits: where its scale is, and its base or NULL. */
typedef void (*group_work)(trained *group, unsigned bits, uint8_t *scale, uint8_t *base,
                           double gradient, const void *how);

/* The groups of a packed block row, which are groups[0 ..]; gradients may be NULL. */
static void each_of_row(uint8_t *row, const sb_tiling *tiling, size_t unit, const uint8_t *bits,
                        sb_symmetry symmetry, trained *groups, const float *gradients,
                        group_work work, const void *how) {
  const size_t across = sb_tiling_block_cols(tiling), rows = sb_tiling_rows_of(tiling, unit);
  uint8_t *block = row + sb_bitmap_bytes(across);
  for (size_t j = 0; j < across; j++) {
    const sb_block_layout b =
        sb_block_layout_of(rows, sb_tiling_cols_of(tiling, j), bits[j], symmetry);
    const bool has_base = symmetry == SB_ASYMMETRIC && bits[j] == 1;
    for (size_t r = 0; r < rows; r++)
      work(&groups[r * across + j], bits[j], block + 2 * r,
           has_base ? block + b.zeros + 2 * r : NULL,
           gradients ? (double)gradients[r * across + j] : 0, how);
    block += sb_block_layout_bytes(&b);
  }
}

static void each_group(sb_scales *s, const float *gradients, group_work work, const void *how) {
  sb_model *m = s->m;
  size_t at = 0;
  for (size_t group = m->layer_first; group < m->layer_first + m->config.layers; group++) {
    size_t own, end;
    sb_store_owned(m->store, group, m->world->rank, &own, &end);
    for (size_t i = m->group_place[group]; i < m->group_place[group + 1]; i++) {
      const sb_place *place = &m->places[i];
      const sb_matrix *matrix = sb_model_place_matrix(m, place);
      const size_t last = sb_min_size(end, place->first_unit + place->units);
      for (size_t u = sb_max_size(own, place->first_unit); matrix && u < last; u++) {
        const size_t unit = u - place->first_unit, across = sb_tiling_block_cols(&matrix->tiling);
        each_of_row(sb_store_unit(m->store, group, u), &matrix->tiling, unit,
                    m->bits + matrix->first_block + unit * across, m->blocking.symmetry,
                    s->groups + at, gradients ? gradients + at : NULL, work, how);
        at += sb_tiling_rows_of(&matrix->tiling, unit) * across;
      }
    }
  }
}

static void read_group(trained *g, unsigned bits, uint8_t *scale, uint8_t *base, double gradient,
                       const void *how) {
  (void)bits, (void)gradient, (void)how;
  memcpy(&g->scale, scale, sizeof g->scale);
  if (base) memcpy(&g->base, base, sizeof g->base);
}

size_t sb_scales_bytes(const sb_sizes *z) {
  return sizeof(sb_scales) + z->owned_groups * sizeof(trained) + (z->layers + 1) * sizeof(size_t);
}

sb_status sb_scales_create(sb_model *packed, sb_scales **out) {
  sb_status status = SB_OK;
  SB_GO(sb_alloc(out, 1, sizeof **out, "scales"));
  sb_scales *s = *out;
  const size_t layers = packed->config.layers;
  s->m = packed;
  SB_GO(sb_alloc(&s->before, layers + 1, sizeof *s->before, "scales"));
  for (size_t layer = 0; layer < layers; layer++) {
    size_t first, end;
    sb_store_owned(packed->store, packed->layer_first + layer, packed->world->rank, &first, &end);
    s->before[layer + 1] =
        s->before[layer] + groups_before(packed, layer, end) - groups_before(packed, layer, first);
  }
  SB_GO(sb_alloc(&s->groups, s->before[layers], sizeof *s->groups, "scales"));
  each_group(s, NULL, read_group, NULL);
done:
  status = sb_world_agree(packed->world, status);
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
static void write_group(trained *g, unsigned bits, uint8_t *scale, uint8_t *base, double gradient,
                        const void *how) {
  (void)bits, (void)gradient, (void)how;
  const double factor = exp((double)g->shift);
  put(scale, g->scale, factor);
  if (base) put(base, g->base, factor);
}

static void move_group(trained *g, unsigned bits, uint8_t *scale, uint8_t *base, double gradient,
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

void sb_scales_step(sb_scales *s, const float *gradients, double rate) {
  s->steps++;
  const step how = {rate, 1 / (1 - pow(BETA_MEAN, s->steps)), 1 / (1 - pow(BETA_SQUARE, s->steps))};
  each_group(s, gradients, move_group, &how);
}
