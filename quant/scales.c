#include "quant/scales.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "kernels/shared/grid.h"

/* Means over few steps, because training has few. */
static const double BETA_MEAN = 0.9, BETA_SQUARE = 0.99, EPSILON = 1e-12;

/* The training state of a number. */
typedef struct state {
  uint16_t was[2];    /* as it was before training: scale and base, or the bytes of a number */
  float shift;        /* of the logarithm */
  float mean, square; /* of gradients */
} state;

struct sb_scales {
  sb_model *m;
  sb_trained what;
  size_t *before; /* [parts + 1] */
  state *numbers;
  unsigned steps;
};

size_t sb_scales_parts(const sb_scales *s) {
  return sb_scale_parts(s->m, s->what);
}

sb_trained sb_scales_trained(const sb_scales *s) {
  return s->what;
}

void sb_scales_owners(const sb_scales *s, size_t part, size_t *starts) {
  starts[0] = 0;
  for (int r = 0; r < s->m->world->size; r++) {
    size_t first, end;
    sb_store_owned(s->m->store, sb_scale_part_group(s->m, s->what, part), r, &first, &end);
    starts[r + 1] = sb_scale_numbers_before(s->m, s->what, part, end);
  }
}

size_t sb_scales_before(const sb_scales *s, size_t part) {
  return s->before[part];
}

/* The work on one number. */
typedef void (*number_work)(state *state, const sb_scale_number *number, double gradient,
                            const void *how);

/* A walk over this rank's numbers; `at` is the first of the unit at hand. */
typedef struct walk {
  const sb_scales *scales;
  const float *gradients; /* or NULL */
  number_work work;
  const void *how;
  size_t at;
} walk;

static void visit_number(void *context, size_t index, const sb_scale_number *number) {
  const walk *w = context;
  const size_t k = w->at + index;
  w->work(&w->scales->numbers[k], number, w->gradients ? (double)w->gradients[k] : 0, w->how);
}

static sb_status visit_unit(void *context, sb_model *m, const sb_place *place, size_t unit,
                            void *data) {
  walk *w = context;
  w->at += sb_scale_numbers_visit(m, w->scales->what, place, unit, data, visit_number, context);
  return SB_OK;
}

static void each_number(sb_scales *s, const float *gradients, number_work work, const void *how) {
  walk w = {.scales = s, .gradients = gradients, .work = work, .how = how};
  (void)sb_model_visit_owned(s->m, visit_unit, &w); /* its visitor does not fail */
}

static void read_number(state *s, const sb_scale_number *number, double gradient, const void *how) {
  (void)gradient, (void)how;
  if (number->value)
    memcpy(s->was, number->value, sb_dtype_size(number->dtype));
  else
    s->was[0] = sb_grid_to_fp16((float)sb_scale_number_value(number));
  if (number->base) memcpy(&s->was[1], number->base, sizeof s->was[1]);
}

size_t sb_scales_bytes(const sb_sizes *z, sb_trained what) {
  const size_t parts = z->layers + (what.norms ? 1 : 0);
  return sizeof(sb_scales) + sb_scale_numbers_owned(z, what) * sizeof(state) +
         (parts + 1) * sizeof(size_t);
}

sb_status sb_scales_create(sb_model *coded, sb_trained wanted, sb_scales **out) {
  sb_status status = SB_OK;
  SB_GO(sb_alloc(out, 1, sizeof **out, "scales"));
  sb_scales *s = *out;
  s->m = coded;
  s->what = sb_trained_of(coded, wanted);
  const size_t parts = sb_scales_parts(s);
  SB_GO(sb_alloc(&s->before, parts + 1, sizeof *s->before, "scales"));
  for (size_t part = 0; part < parts; part++) {
    size_t first, end;
    sb_store_owned(coded->store, sb_scale_part_group(coded, s->what, part), coded->world->rank,
                   &first, &end);
    s->before[part + 1] = s->before[part] + sb_scale_numbers_before(coded, s->what, part, end) -
                          sb_scale_numbers_before(coded, s->what, part, first);
  }
  SB_GO(sb_alloc(&s->numbers, s->before[parts], sizeof *s->numbers, "scales"));
  each_number(s, NULL, read_number, NULL);
done:
  status = sb_world_agree(coded->world, status);
  if (status != SB_OK) sb_scales_free(out);
  return status;
}

void sb_scales_free(sb_scales **scales) {
  sb_scales *s = *scales;
  if (!s) return;
  sb_free(&s->before);
  sb_free(&s->numbers);
  sb_free(scales);
}

/* ---- steps ---- */

/* What a step has in common for all numbers: the rate, and Adam's corrections for means that began
 * at 0. */
typedef struct step {
  double rate, of_mean, of_square;
} step;

static double value_of(const void *bytes, sb_dtype dtype) {
  if (dtype == SB_F16) return (double)sb_grid_from_fp16(sb_element16(bytes, 0));
  float value;
  sb_to_f32(&value, bytes, dtype, 1);
  return (double)value;
}

/* *to = was * factor in the number's type. What is not 0 stays so: unpacking divides by factors. */
static void put(uint8_t *to, const uint16_t *was, const sb_scale_number *number, double factor) {
  const float value = (float)(value_of(was, number->dtype) * factor);
  uint16_t half = sb_grid_to_fp16(sb_grid_base(value, number->code_kind));
  if (factor == 1) {
    memcpy(to, was, sb_dtype_size(number->dtype));
  } else if (number->dtype != SB_F16) {
    sb_from_f32(to, number->dtype, &value, 1);
  } else {
    if (half == 0 && number->kind != SB_SCALE_GROUP) half = (was[0] & 0x8000u) | (was[0] != 0);
    memcpy(to, &half, sizeof half);
  }
}

/* The scale of a group, in the block row. */
static void put_scale(uint16_t was, const sb_scale_number *number, double factor) {
  const float before = sb_grid_from_fp16(was), value = (float)((double)before * factor);
  sb_scale_put(number->row, &number->place,
               factor == 1 ? before : sb_grid_scale(value, number->code_kind));
}

/* Into the unit. */
static void write_number(state *s, const sb_scale_number *number, double gradient,
                         const void *how) {
  (void)gradient, (void)how;
  const double factor = exp((double)s->shift);
  if (number->value)
    put(number->value, s->was, number, factor);
  else
    put_scale(s->was[0], number, factor);
  if (number->base) put(number->base, &s->was[1], number, factor);
}

double sb_scales_pace(const sb_scale_number *number) {
  switch (number->kind) {
  case SB_SCALE_GROUP:
    return 1.0 / (double)(1u << (number->bits - 1));
  case SB_SCALE_ROW:
    return 0.25;
  case SB_SCALE_BLOCK:
    return 0.25;
  case SB_SCALE_NORM:
    return 0.25;
  }
  return 0;
}

static void move_number(state *s, const sb_scale_number *number, double gradient, const void *how) {
  const step *now = how;
  const double rate = now->rate * sb_scales_pace(number);
  if (number->kind == SB_SCALE_NORM) gradient *= sb_scale_number_value(number);
  s->mean = (float)(BETA_MEAN * (double)s->mean + (1 - BETA_MEAN) * gradient);
  s->square = (float)(BETA_SQUARE * (double)s->square + (1 - BETA_SQUARE) * gradient * gradient);
  s->shift -= (float)(rate * (double)s->mean * now->of_mean /
                      (sqrt((double)s->square * now->of_square) + EPSILON));
  write_number(s, number, gradient, how);
}

uint8_t *sb_scales_state(sb_scales *s) {
  _Static_assert(sizeof *s->numbers == SB_SCALES_STATE_BYTES, "what is saved of a number");
  return (uint8_t *)s->numbers;
}

void sb_scales_restore(sb_scales *s, size_t steps) {
  s->steps = (unsigned)steps;
  each_number(s, NULL, write_number, NULL);
}

static void reset_number(state *s, const sb_scale_number *number, double gradient,
                         const void *how) {
  s->shift = s->mean = s->square = 0;
  write_number(s, number, gradient, how);
}

void sb_scales_reset(sb_scales *s) {
  s->steps = 0;
  each_number(s, NULL, reset_number, NULL);
}

void sb_scales_step(sb_scales *s, const float *gradients, double rate) {
  s->steps++;
  const step how = {rate, 1 / (1 - pow(BETA_MEAN, s->steps)), 1 / (1 - pow(BETA_SQUARE, s->steps))};
  each_number(s, gradients, move_number, &how);
}
