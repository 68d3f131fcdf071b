#include "folders/fresh_model.h"

#include <jansson.h>
#include <math.h>

#include "folders/hf_path.h"
#include "folders/made_model.h"
#include "folders/random_numbers.h"
#include "io/json.h"
#include "model/config_read.h"

static const double TWO_PI = 6.28318530717958647692, SIGMA = 0.02;

typedef struct recipe {
  uint64_t seed;
  double sigma;
} recipe;

/* Box and Muller (1958), one of the two: u in (0, 1] and an angle, of 32 bits each. */
static float normal(uint64_t bits, double sigma) {
  const double u = ((double)(bits >> 32) + 1) * 0x1p-32,
               angle = TWO_PI * (double)(bits & UINT32_MAX) * 0x1p-32;
  return (float)(sigma * sqrt(-2 * log(u)) * cos(angle));
}

static sb_status fill_unit(void *context, sb_model *m, const sb_place *place, size_t unit,
                           void *data) {
  const recipe *r = context;
  const sb_model_tensor *t = &m->arch.tensors[place->tensor];
  const uint64_t key = sb_random_key(r->seed, t->name);
  float *w = data;
  size_t row, rows;
  sb_place_rows(m, place, unit, &row, &rows);
  const size_t count = rows * t->cols, first = row * t->cols;
#pragma omp parallel for schedule(static)
  for (size_t i = 0; i < count; i++)
    w[i] = t->dims == 1 ? 1.0f : normal(sb_random_number(key, first + i), r->sigma);
  return SB_OK;
}

static sb_status read_config(const char *path, sb_config *config, double *sigma) {
  json_t *object = NULL;
  SB_TRY(sb_hf_path_check(path));
  SB_TRY(sb_config_read_json(path, &object, config));
  const json_t *range = json_object_get(object, "initializer_range");
  *sigma = json_is_number(range) ? json_number_value(range) : SIGMA;
  json_decref(object);
  if (!(*sigma > 0 && *sigma < 10))
    return sb_fail(SB_ERR_FORMAT,
                   "%s: initializer_range %g is no standard deviation of weights; 0.02 is usual",
                   path, *sigma);
  return SB_OK;
}

sb_status sb_fresh_model(const sb_world *world, const char *path, uint64_t seed,
                         sb_blocking blocking, sb_model **out) {
  sb_config config;
  recipe r = {.seed = seed};
  *out = NULL;
  SB_AGREE(world, read_config(path, &config, &r.sigma));
  return sb_made_model(world, &config, SB_F32, blocking, fill_unit, &r, out);
}
