/* Saved states: of the search, of rounding, of training (folders/checkpoint_files.h). What is
 * accepted leaves the model with its invariants.
 *
 * Input: u8 mode, u8 number of changes of the second file, CHANGES of them (u32 place, u8 value
 * each), whether they are made or not, then the JSON of the first. Unless the mode is 0, format,
 * version, key and all checksums are made to fit. A search has no second file. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "alloc/checkpoint.h"
#include "model/model_check.h"
#include "quant/gptq_checkpoint.h"
#include "quant/tune_checkpoint.h"
#include "tests/fuzz/fuzz_model.h"

enum { MOST = 8192, CHANGES = 7, HEAD = 2 + 5 * CHANGES };

/* What was written here: the first file as JSON, and the second one. */
typedef struct saved {
  json_t *json;
  uint8_t *data;
  size_t bytes;
} saved;

static const sb_blocking blocking = {16, 32, SB_GRID_ASYMMETRIC};
static sb_model *model; /* of the target that runs */

static saved keep(const char *name, const char *second) {
  saved out = {0};
  size_t bytes;
  char *text = fuzz_get(fuzz_path(name), &bytes);
  out.json = json_loadb(text, bytes, 0, NULL);
  fuzz_require(out.json != NULL);
  free(text);
  if (second) out.data = (uint8_t *)fuzz_get(fuzz_path(second), &out.bytes);
  return out;
}

static void seed(fuzz_take take, void *context, const saved *from) {
  uint8_t input[MOST] = {1, 0};
  const size_t bytes = json_dumpb(from->json, (char *)input + HEAD, MOST - HEAD, JSON_COMPACT);
  fuzz_require(bytes <= MOST - HEAD);
  for (size_t i = 0; i < CHANGES; i++) {
    const size_t number = (i + 1) * 12345;
    for (unsigned k = 0; k < 3; k++) input[2 + 5 * i + k] = (uint8_t)(number >> 8 * k);
    input[2 + 5 * i + 4] = (uint8_t)(77 * i);
  }
  for (uint8_t mode = 0; mode < 2; mode++)
    for (input[0] = mode, input[1] = 0; input[1] < 2; input[1]++)
      take(context, input, HEAD + bytes);
}

/* The second file with the first of the input's changes, which are taken from the cursor. `place`
 * says where a change goes that the input has at a number. NULL for a state without one. */
static uint8_t *changed(const saved *from, fuzz_cursor *in, size_t (*place)(size_t number)) {
  const size_t changes = fuzz_u8(in) % (CHANGES + 1);
  uint8_t *data = from->data ? malloc(from->bytes + 1) : NULL;
  if (data) memcpy(data, from->data, from->bytes);
  for (size_t i = 0; i < CHANGES; i++) {
    const size_t number = fuzz_u32(in);
    const uint8_t value = fuzz_u8(in);
    if (data && i < changes) data[place(number)] = value;
  }
  return data;
}

/* ---- search ---- */

static saved search;

static void begin_search(void) {
  const sb_search_progress progress = {.steps = 5,
                                       .strides = 2,
                                       .trades = 3,
                                       .accepted = 1,
                                       .share = 0.015,
                                       .loss = 3.25,
                                       .start_loss = 4.5};
  sb_search_progress none = {0};
  sb_search_checkpoint checkpoint;
  bool resumes;
  model = fuzz_source_model(blocking, SB_REORDER_NONE);
  fuzz_require(sb_search_checkpoint_open(fuzz_path("search"), fuzz_key(), model, &none, &resumes,
                                         &checkpoint) == SB_OK);
  fuzz_require(sb_search_checkpoint_write(&checkpoint, &progress) == SB_OK);
  search = keep("search", NULL);
}

static void seeds_search(fuzz_take take, void *context) {
  seed(take, context, &search);
}

static void run_search(const uint8_t *data, size_t size) {
  fuzz_cursor in = {data, size};
  const bool fits = fuzz_u8(&in) != 0;
  (void)changed(&search, &in, NULL);
  sb_search_progress p = {0};
  sb_search_checkpoint checkpoint;
  sb_flaw flaw;
  bool resumes = false;
  const char *path =
      fuzz_put_checkpoint("search", fits ? fuzz_checkpoint_json(&in, search.json) : NULL, &in);
  if (fuzz_settle(sb_search_checkpoint_open(path, fuzz_key(), model, &p, &resumes, &checkpoint))) {
    fuzz_require(resumes && p.steps >= 0 && p.strides >= 0 && p.trades >= 0 && p.share >= 0);
    fuzz_require(isfinite(p.loss) && isfinite(p.start_loss) && isfinite(p.share));
  }
  fuzz_require(sb_bits_are_valid(model->bits, model->blocks, false, &flaw));
}

const fuzz_target fuzz_search_checkpoint = {"search_checkpoint", MOST, begin_search,
                                            seeds_search,        NULL, run_search};

/* ---- rounding ---- */

static saved rounding;

static void begin_rounding(void) {
  sb_gptq_checkpoint *checkpoint = NULL;
  size_t layers;
  model = fuzz_coded_model(blocking, SB_REORDER_NONE, false);
  fuzz_require(sb_gptq_checkpoint_open(fuzz_path("rounding"), fuzz_key(), model, &layers,
                                       &checkpoint) == SB_OK);
  for (size_t layer = 0; layer < model->config.layers; layer++)
    fuzz_require(sb_gptq_checkpoint_add(checkpoint, model->layer_first + layer) == SB_OK);
  sb_gptq_checkpoint_close(&checkpoint);
  rounding = keep("rounding", "rounding.layers");
}

static void seeds_rounding(fuzz_take take, void *context) {
  seed(take, context, &rounding);
}

/* Calls back for every unit of the file with its number, its layer, and where it lies. */
static void each_unit(void (*visit)(void *context, size_t number, size_t layer, size_t at,
                                    size_t bytes),
                      void *context) {
  const sb_model *m = model;
  size_t number = 0, at = 0;
  for (size_t layer = 0; layer < m->config.layers; layer++) {
    const size_t group = m->layer_first + layer;
    const sb_place *last = &m->places[m->group_place[group + 1] - 1];
    const size_t end = last->first_unit + last->units;
    for (size_t u = 0; u < end; u++) {
      const size_t begin = sb_store_offset(m->store, group, u),
                   bytes = sb_store_offset(m->store, group, u + 1) - begin;
      visit(context, number++, layer, at, bytes);
      at += bytes;
    }
  }
  fuzz_require(at == rounding.bytes);
}

typedef struct layer_sums {
  const uint8_t *data;
  uint64_t sums[16];
} layer_sums;

static void sum_unit(void *context, size_t number, size_t layer, size_t at, size_t bytes) {
  layer_sums *s = context;
  fuzz_require(layer < 16);
  s->sums[layer] += XXH64(s->data + at, bytes, number);
}

/* The checksums of all layers. */
static void sum_layers(json_t *json, const uint8_t *data) {
  layer_sums s = {data, {0}};
  char text[17];
  json_t *list = json_array();
  each_unit(sum_unit, &s);
  for (size_t layer = 0; layer < model->config.layers; layer++) {
    snprintf(text, sizeof text, "%016llx", (unsigned long long)s.sums[layer]);
    json_array_append_new(list, json_string(text));
  }
  json_object_set_new(json, "sums", list);
}

/* Low bits of the number: the unit, out of UNITS. The others: where in it, in every second case
 * among the first bytes, which say how wide its codes are. */
enum { UNITS = 256 };
typedef struct spot {
  size_t number, place;
} spot;

static void find_spot(void *context, size_t number, size_t layer, size_t at, size_t bytes) {
  spot *s = context;
  (void)layer;
  const size_t offset = s->number / UNITS;
  if (number != s->number % UNITS) return;
  s->place = at + (offset % 2 ? offset / 2 % 4 : offset / 2) % bytes;
}

static size_t in_some_unit(size_t number) {
  spot s = {number, 0};
  each_unit(find_spot, &s);
  return s.place;
}

/* After a refusal the store has what was read so far: back to what was saved. */
static void restore_rounding(void) {
  const fuzz_cursor nothing = {NULL, 0};
  sb_gptq_checkpoint *checkpoint = NULL;
  size_t layers;
  fuzz_put("rounding.layers", rounding.data, rounding.bytes, 0);
  const char *path = fuzz_put_checkpoint("rounding", json_incref(rounding.json), &nothing);
  fuzz_require(sb_gptq_checkpoint_open(path, fuzz_key(), model, &layers, &checkpoint) == SB_OK);
  sb_gptq_checkpoint_close(&checkpoint);
}

static void run_rounding(const uint8_t *data, size_t size) {
  fuzz_cursor in = {data, size};
  const bool fits = fuzz_u8(&in) != 0;
  uint8_t *layers = changed(&rounding, &in, in_some_unit);
  json_t *json = fits ? fuzz_checkpoint_json(&in, rounding.json) : NULL;
  if (json) sum_layers(json, layers);
  fuzz_put("rounding.layers", layers, rounding.bytes, 0);
  free(layers);
  const char *path = fuzz_put_checkpoint("rounding", json, &in);
  sb_gptq_checkpoint *checkpoint = NULL;
  size_t done = 0;
  if (fuzz_settle(sb_gptq_checkpoint_open(path, fuzz_key(), model, &done, &checkpoint))) {
    fuzz_require(done <= model->config.layers);
    fuzz_require_valid(model);
    sb_gptq_checkpoint_close(&checkpoint);
  } else {
    restore_rounding();
  }
}

const fuzz_target fuzz_rounding_checkpoint = {"rounding_checkpoint", MOST, begin_rounding,
                                              seeds_rounding,        NULL, run_rounding};

/* ---- training ---- */

static saved training;
static sb_scales *scales;

static void begin_training(void) {
  const sb_tune_checkpoint_progress progress = {.steps = 3, .before = 0.25};
  sb_tune_checkpoint_progress none;
  sb_tune_checkpoint *checkpoint = NULL;
  model = fuzz_coded_model(blocking, SB_REORDER_NONE, false);
  fuzz_require(sb_scales_create(model, (sb_trained){0}, &scales) == SB_OK);
  fuzz_require(sb_tune_checkpoint_open(fuzz_path("training"), fuzz_key(), fuzz_world(), scales,
                                       &none, &checkpoint) == SB_OK);
  fuzz_require(sb_tune_checkpoint_offer(checkpoint, &progress) == SB_OK);
  sb_tune_checkpoint_close(&checkpoint);
  training = keep("training", "training.scales");
}

static void seeds_training(fuzz_take take, void *context) {
  seed(take, context, &training);
}

/* The hashes of all groups, each seeded with its number, added up. */
static void sum_groups(json_t *json, const uint8_t *data) {
  const size_t groups = sb_scales_before(scales, sb_scales_parts(scales));
  const size_t half = (size_t)json_integer_value(json_object_get(json, "half"));
  uint64_t sum = 0;
  char text[20];
  if (half > 1 || (half + 1) * groups * SB_SCALES_STATE_BYTES > training.bytes) return;
  for (size_t i = 0; i < groups; i++)
    sum += XXH64(data + (half * groups + i) * SB_SCALES_STATE_BYTES, SB_SCALES_STATE_BYTES, i);
  snprintf(text, sizeof text, "%016llx", (unsigned long long)sum);
  json_object_set_new(json, "sum", json_string(text));
}

static size_t anywhere(size_t number) {
  return number % training.bytes;
}

static void run_training(const uint8_t *data, size_t size) {
  fuzz_cursor in = {data, size};
  const bool fits = fuzz_u8(&in) != 0;
  uint8_t *state = changed(&training, &in, anywhere);
  json_t *json = fits ? fuzz_checkpoint_json(&in, training.json) : NULL;
  if (json) sum_groups(json, state);
  fuzz_put("training.scales", state, training.bytes, 0);
  const char *path = fuzz_put_checkpoint("training", json, &in);
  sb_tune_checkpoint *checkpoint = NULL;
  sb_tune_checkpoint_progress progress;
  if (fuzz_settle(sb_tune_checkpoint_open(path, fuzz_key(), fuzz_world(), scales, &progress,
                                          &checkpoint))) {
    fuzz_require(isfinite(progress.before) && progress.steps <= INT32_MAX);
    fuzz_require_valid(model);
    sb_tune_checkpoint_close(&checkpoint);
  }
  free(state);
}

const fuzz_target fuzz_training_checkpoint = {"training_checkpoint", MOST, begin_training,
                                              seeds_training,        NULL, run_training};
