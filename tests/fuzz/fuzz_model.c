#include "tests/fuzz/fuzz_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "folders/hf_load.h"
#include "io/seal.h"
#include "model/model_check.h"
#include "quant/encode.h"
#include "tests/support/random_orders.h"

static sb_world world;

/* Of the sanitizers' libraries, where they are linked. What MPI keeps from its start on is no leak
 * of ours. Leaks are looked for before it ends, because it unloads modules that keep things. */
void __lsan_disable(void) __attribute__((weak));
void __lsan_enable(void) __attribute__((weak));
void __lsan_do_leak_check(void) __attribute__((weak));

static void begin_world(int *count, char ***vector) {
  if (__lsan_disable) __lsan_disable();
  fuzz_require(sb_world_init(count, vector, &world) == SB_OK);
  if (__lsan_enable) __lsan_enable();
}

static void end_world(void) {
  if (__lsan_do_leak_check) __lsan_do_leak_check();
  sb_world_finalize(&world);
}

const sb_world *fuzz_world(void) {
  static char name[] = "fuzz";
  static char *arguments[] = {name, NULL};
  static bool begun;
  int count = 1;
  char **vector = arguments;
  if (begun) return &world;
  begun = true;
  begin_world(&count, &vector);
  atexit(end_world);
  return &world;
}

sb_model *fuzz_source_model(sb_blocking blocking, sb_reorder mode) {
  sb_model *plain = NULL, *model = NULL;
  sb_orders orders = {0};
  fuzz_require(sb_hf_load(fuzz_world(), SB_SOURCE_DIR "/" FUZZ_MODEL, blocking, true, &plain) ==
               SB_OK);
  if (mode == SB_REORDER_INDEXED) {
    fuzz_require(random_indexed(&plain->arch, blocking.rows, blocking.cols, 7, &orders) == SB_OK);
    fuzz_require(sb_hf_load_ordered(fuzz_world(), SB_SOURCE_DIR "/" FUZZ_MODEL, blocking, true,
                                    &orders, &model) == SB_OK);
    sb_orders_free(&orders);
    sb_model_free(&plain);
  } else {
    model = plain;
  }
  for (size_t k = 0; k < model->blocks; k++) model->bits[k] = (uint8_t)(1 + mix(k) % 8);
  return model;
}

sb_model *fuzz_coded_model(sb_blocking blocking, sb_reorder mode, bool tables) {
  sb_model *source = fuzz_source_model(blocking, mode), *coded = NULL;
  for (size_t i = 0; i < source->table_count; i++) source->tables[i].coded = tables;
  for (size_t k = source->blocks; tables && k < source->all_blocks; k++)
    source->bits[k] = (uint8_t)(1 + mix(k) % 8);
  fuzz_require(sb_encode_nearest(source, &coded) == SB_OK);
  sb_model_free(&source);
  return coded;
}

void fuzz_require_valid(const sb_model *model) {
  sb_flaw flaw;
  if (!sb_model_is_valid(model, &flaw)) fuzz_broken(__FILE__, __LINE__, flaw.text);
}

/* ---- checkpoints ---- */

const sb_key *fuzz_key(void) {
  static sb_key key;
  if (key.count == 0) {
    sb_key_add(&key, "model", "model", "%016x", 0x1234u);
    sb_key_add(&key, "bits", "budget (--bits)", "%g", 2.5);
  }
  return &key;
}

json_t *fuzz_checkpoint_json(const fuzz_cursor *rest, const json_t *like) {
  static const char *const members[] = {"format", "version", "key"};
  json_t *json = json_loadb((const char *)rest->at, rest->left, 0, NULL);
  if (!json_is_object(json)) {
    json_decref(json);
    return NULL;
  }
  for (size_t i = 0; i < 3; i++)
    json_object_set(json, members[i], json_object_get(like, members[i]));
  return json;
}

const char *fuzz_put_checkpoint(const char *name, json_t *json, const fuzz_cursor *rest) {
  if (!json) return fuzz_put(name, rest->at, rest->left, 0);
  const char *path = fuzz_path(name);
  fuzz_require(sb_sealed_write(path, json) == SB_OK);
  json_decref(json);
  return path;
}

const char *fuzz_put_json(const char *name, json_t *json, const fuzz_cursor *rest) {
  char *text = json ? json_dumps(json, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
  const char *path =
      text ? fuzz_put(name, text, strlen(text), 0) : fuzz_put(name, rest->at, rest->left, 0);
  free(text);
  json_decref(json);
  return path;
}
