/* States of training (train/checkpoint.h). What is accepted holds what the headers promise.
 *
 * optimizer_file: the JSON header of optimizer.safetensors; length and data, u32 words that count
 * from 0, are made here. So moments are small positive numbers, but where a header turns types
 * round. run_state: the JSON object "state" of training.json. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "folders/hf_load.h"
#include "io/bytes.h"
#include "tests/fuzz/fuzz_model.h"
#include "train/optimizer_file.h"
#include "train/run_state.h"

enum { MOST = 8192 };

/* ---- optimizer.safetensors ---- */

static sb_model *model;
static sb_shares shares;
static sb_optimizer optimizer;

static void begin_optimizer(void) {
  fuzz_require(sb_hf_load_f32(fuzz_world(), SB_SOURCE_DIR "/" FUZZ_MODEL,
                              (sb_blocking){16, 32, SB_GRID_ASYMMETRIC}, &model) == SB_OK);
  fuzz_require(sb_shares_create(model, &shares) == SB_OK);
  fuzz_require(sb_optimizer_create(&shares, &optimizer) == SB_OK);
}

static void seeds_optimizer(fuzz_take take, void *context) {
  const sb_optimizer_info info = {
      .step = 12, .updates = 11, .adamw = SB_ADAMW_DEFAULTS, .rate = 1e-3};
  const char *path = fuzz_path("seed.safetensors");
  sb_optimizer_metadata metadata;
  sb_optimizer_specs specs;
  sb_safetensors_writer *writer = NULL;
  size_t bytes;
  sb_optimizer_metadata_make(&info, &metadata);
  fuzz_require(sb_optimizer_specs_create(&model->arch, &specs) == SB_OK);
  remove(path);
  fuzz_require(sb_safetensors_writer_create(path, specs.specs, 2 * model->arch.count,
                                            metadata.pairs, &writer) == SB_OK);
  fuzz_require(sb_safetensors_writer_finish(writer) == SB_OK);
  sb_safetensors_writer_free(&writer);
  sb_optimizer_specs_free(&specs);
  char *file = fuzz_get(path, &bytes);
  const size_t header = (size_t)sb_get_u64((uint8_t *)file);
  fuzz_require(header <= MOST);
  take(context, file + 8, header);
  free(file);
}

/* As many bytes of data as the weights' moments have, whatever the header says: one that says
 * something else is refused for it. */
static const char *put_file(const uint8_t *header, size_t bytes) {
  const size_t words = 2 * shares.elements;
  uint8_t *file = malloc(8 + bytes + words * 4);
  fuzz_require(file != NULL);
  sb_put_u64(file, bytes);
  memcpy(file + 8, header, bytes);
  for (size_t i = 0; i < words; i++) {
    const float value = (float)i;
    memcpy(file + 8 + bytes + 4 * i, &value, 4);
  }
  const char *path = fuzz_put("optimizer.safetensors", file, 8 + bytes + words * 4, 0);
  free(file);
  return path;
}

static void run_optimizer(const uint8_t *data, size_t size) {
  sb_optimizer_info info;
  bool masters;
  const char *path = put_file(data, size);
  const bool known = fuzz_settle(sb_optimizer_file_info(path, &info));
  if (known) {
    fuzz_require(isfinite(info.rate) && info.rate >= 0 && isfinite(info.adamw.beta2));
    fuzz_require(isfinite(info.adamw.eps) && info.adamw.decay >= 0 && info.clip >= 0);
  }
  if (!fuzz_settle(sb_optimizer_file_read(fuzz_world(), path, &optimizer, &masters))) return;
  fuzz_require(known && optimizer.updates == info.updates);
  for (size_t i = 0; i < shares.elements; i++)
    fuzz_require(isfinite(optimizer.m[i]) && optimizer.v[i] >= 0 && isfinite(optimizer.v[i]));
}

const fuzz_target fuzz_optimizer_file = {"optimizer_file", MOST, begin_optimizer,
                                         seeds_optimizer,  NULL, run_optimizer};

/* ---- training.json ---- */

static void seeds_state(fuzz_take take, void *context) {
  sb_run_state state = {.progress = {.step = 400, .updates = 399}, .seconds = 12.5, .loss = 3.1};
  for (size_t i = 0; i < SB_SKIP_WINDOW; i++)
    state.progress.losses.values[i] = 3 + 1.0 / (double)(i + 1);
  state.progress.losses.count = state.progress.norms.count = 400;
  json_t *json = sb_run_state_json(&state);
  char text[MOST];
  const size_t bytes = json_dumpb(json, text, sizeof text, JSON_COMPACT);
  fuzz_require(bytes <= sizeof text);
  take(context, text, bytes);
  json_decref(json);
}

static void run_state(const uint8_t *data, size_t size) {
  sb_run_state state = {0};
  json_t *json = json_loadb((const char *)data, size, 0, NULL);
  if (!json) return;
  if (fuzz_settle(sb_run_state_parse(json, &state))) {
    fuzz_require(state.progress.updates <= state.progress.step);
    fuzz_require(isfinite(state.seconds));
    for (size_t i = 0; i < SB_SKIP_WINDOW; i++)
      fuzz_require(isfinite(state.progress.losses.values[i]));
  }
  json_decref(state.extra);
  json_decref(json);
}

const fuzz_target fuzz_run_state = {"run_state", MOST, NULL, seeds_state, NULL, run_state};
