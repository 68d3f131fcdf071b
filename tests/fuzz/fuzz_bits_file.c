/* Allocation files (folders/bits_file.h), of a model as it is and of one in indexed orders,
 * for trellis codes; with and without tables.
 *
 * Input: u8 mode, then the JSON. Bit 0 of the mode: indexed. Bit 1: orders_hash is made to fit. Bit
 * 2, of seeds alone: the embedding has widths. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "folders/bits_file.h"
#include "model/model_check.h"
#include "model/orders_check.h"
#include "tests/fuzz/fuzz_model.h"

enum { MOST = 16384, INDEXED = 1, FIT = 2, TABLES = 4 };

static sb_model *models[2];

static void begin(void) {
  const sb_blocking blocking = {16, 32, SB_GRID_ASYMMETRIC};
  models[0] = fuzz_source_model(blocking, SB_REORDER_NONE);
  models[1] = fuzz_source_model((sb_blocking){16, 32, SB_TRELLIS_12}, SB_REORDER_INDEXED);
}

static void code_table(sb_model *model, bool coded) {
  model->tables[0].coded = coded;
  for (size_t k = model->blocks; k < model->all_blocks; k++)
    model->bits[k] = coded ? (uint8_t)(1 + k % 8) : 0;
}

static void seeds(fuzz_take take, void *context) {
  for (uint8_t mode = 0; mode < 8; mode++) {
    code_table(models[mode & INDEXED], mode & TABLES);
    uint8_t input[MOST] = {mode};
    const char *path = fuzz_path("bits.json");
    size_t bytes;
    fuzz_require(sb_bits_file_write(models[mode & INDEXED], path) == SB_OK);
    char *text = fuzz_get(path, &bytes);
    json_t *json = json_loadb(text, bytes, 0, NULL);
    const size_t packed = json_dumpb(json, (char *)input + 1, MOST - 1, JSON_COMPACT);
    fuzz_require(packed < MOST);
    take(context, input, 1 + packed);
    json_decref(json);
    free(text);
  }
}

/* The orders of the file as far as they can be read; false where one is no permutation. */
static bool read_orders(const json_t *list, const sb_arch *arch, sb_orders *orders) {
  for (size_t i = 0; i < orders->count; i++) {
    const sb_order *order = &orders->orders[i];
    const char *text = json_string_value(json_object_get(json_array_get(list, i), "channels"));
    char *end;
    for (size_t k = 0; text && k < order->size; k++, text = end)
      order->from[k] = (uint32_t)strtoul(text, &end, 10);
  }
  return sb_orders_check(arch, orders) == SB_OK;
}

static void fit(json_t *json, const sb_model *model) {
  sb_orders orders = {0};
  json_int_t rows = 0, cols = 0;
  char hash[17];
  if (json_unpack(json, "{s:[I, I]}", "block", &rows, &cols) != 0 || rows < 1 || cols < 1) return;
  fuzz_require(sb_orders_create(&model->arch, SB_REORDER_INDEXED, &orders) == SB_OK);
  if (read_orders(json_object_get(json, "orders"), &model->arch, &orders)) {
    sb_orders_settle(&orders, (size_t)rows, (size_t)cols);
    snprintf(hash, sizeof hash, "%016llx", (unsigned long long)sb_orders_hash(&orders));
    json_object_set_new(json, "orders_hash", json_string(hash));
  }
  sb_orders_free(&orders);
}

static void run(const uint8_t *data, size_t size) {
  fuzz_cursor in = {data, size};
  const unsigned mode = fuzz_u8(&in);
  sb_model *model = models[mode & INDEXED];
  json_t *json = NULL;
  if ((mode & FIT) && (mode & INDEXED)) {
    json = json_loadb((const char *)in.at, in.left, 0, NULL);
    if (json_is_object(json)) fit(json, model);
  }
  const char *path = fuzz_put_json("bits.json", json, &in);
  code_table(model, false);
  sb_orders orders = {0};
  if ((mode & INDEXED) && fuzz_settle(sb_bits_file_orders(fuzz_world(), path, &model->arch,
                                                          SB_REORDER_INDEXED, &orders)))
    fuzz_require(sb_orders_check(&model->arch, &orders) == SB_OK);
  sb_orders_free(&orders);
  sb_flaw flaw;
  fuzz_settle(sb_bits_file_read(model, path));
  fuzz_require(sb_bits_are_valid(model->bits, model->blocks, false, &flaw));
  fuzz_require(sb_bits_are_valid(model->bits + model->blocks, model->all_blocks - model->blocks,
                                 !model->tables[0].coded, &flaw));
}

const fuzz_target fuzz_bits_file = {"bits_file", MOST, begin, seeds, NULL, run};
