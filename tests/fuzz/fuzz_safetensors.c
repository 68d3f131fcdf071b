/* Safetensors files and their index (io/safetensors.h).
 *
 * safetensors: u8 mode, then the JSON header; the file around it (length, zeros as data, as many as
 * the largest offset asks for) is made here. In mode 0 the rest is the whole file.
 * safetensors_index: model.safetensors.index.json, beside two shards that stay the same. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "io/bytes.h"
#include "io/safetensors.h"
#include "tests/fuzz/target.h"

enum { MOST = 8192, MOST_DATA = 1 << 20 };

static const char two_tensors[] =
    "{\"__metadata__\":{\"format\":\"pt\"},"
    "\"a.weight\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]},"
    "\"b\":{\"dtype\":\"BF16\",\"shape\":[5],\"data_offsets\":[24,34]}}";
static const char all_types[] =
    "{\"s\":{\"dtype\":\"F16\",\"shape\":[],\"data_offsets\":[0,2]},"
    "\"e\":{\"dtype\":\"F64\",\"shape\":[0,7],\"data_offsets\":[2,2]},"
    "\"i\":{\"dtype\":\"I64\",\"shape\":[1,1,2],\"data_offsets\":[2,18]},"
    "\"u\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[18,21]},"
    "\"t\":{\"dtype\":\"BOOL\",\"shape\":[1],\"data_offsets\":[21,22]}}   ";
static const char third_tensor[] =
    "{\"c\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]}}";

/* The largest number of the text, at most MOST_DATA: offsets are its largest numbers. */
static size_t largest_number(const char *text, size_t bytes) {
  size_t most = 0;
  for (size_t i = 0; i < bytes; i++) {
    size_t number = 0;
    for (; i < bytes && isdigit((unsigned char)text[i]) && number <= MOST_DATA; i++)
      number = 10 * number + (size_t)(text[i] - '0');
    if (number > most && number <= MOST_DATA) most = number;
  }
  return most;
}

static const char *put_file(const char *name, const void *header, size_t bytes, size_t data) {
  uint8_t file[8 + MOST];
  sb_put_u64(file, bytes);
  memcpy(file + 8, header, bytes);
  return fuzz_put(name, file, 8 + bytes, data);
}

static void look(const char *path) {
  sb_safetensors *reader = NULL;
  if (!fuzz_settle(sb_safetensors_open(path, &reader))) {
    fuzz_require(reader == NULL);
    return;
  }
  uint64_t total = 0;
  uint8_t byte;
  for (size_t i = 0; i < sb_safetensors_count(reader); i++) {
    const sb_tensor_info *info = sb_safetensors_at(reader, i);
    total += info->bytes;
    fuzz_require(sb_safetensors_find(reader, info->name) == info);
    if (info->bytes)
      fuzz_require(sb_safetensors_read(reader, info, info->bytes - 1, 1, &byte) == SB_OK);
    fuzz_require(sb_safetensors_read(reader, info, info->bytes, 1, &byte) == SB_ERR_INTERNAL);
    fuzz_settle(sb_safetensors_require_weight(info));
  }
  fuzz_require(total == sb_safetensors_total_bytes(reader));
  sb_safetensors_close(&reader);
}

static void take_mode(fuzz_take take, void *context, uint8_t mode, const void *data, size_t bytes) {
  uint8_t input[1 + MOST] = {mode};
  memcpy(input + 1, data, bytes);
  take(context, input, 1 + bytes);
}

static void seeds(fuzz_take take, void *context) {
  size_t bytes;
  char *golden = fuzz_source_file("tests/golden/mha-untied/model.safetensors", &bytes);
  const size_t header = (size_t)sb_get_u64((uint8_t *)golden);
  uint8_t whole[8 + sizeof third_tensor - 1 + 16] = {0};
  take_mode(take, context, 1, two_tensors, sizeof two_tensors - 1);
  take_mode(take, context, 1, all_types, sizeof all_types - 1);
  if (header < MOST) take_mode(take, context, 1, golden + 8, header);
  sb_put_u64(whole, sizeof third_tensor - 1);
  memcpy(whole + 8, third_tensor, sizeof third_tensor - 1);
  take_mode(take, context, 0, whole, sizeof whole);
  free(golden);
}

static void run(const uint8_t *data, size_t size) {
  fuzz_cursor in = {data, size};
  const bool whole = fuzz_u8(&in) == 0;
  const char *text = (const char *)in.at;
  look(whole ? fuzz_put("model.safetensors", text, in.left, 0)
             : put_file("model.safetensors", text, in.left, largest_number(text, in.left)));
}

const fuzz_target fuzz_safetensors = {"safetensors", MOST, NULL, seeds, NULL, run};

/* ---- the index ---- */

static void begin_index(void) {
  put_file("one.safetensors", two_tensors, sizeof two_tensors - 1, 34);
  put_file("two.safetensors", third_tensor, sizeof third_tensor - 1, 16);
}

static void seeds_index(fuzz_take take, void *context) {
  static const char whole[] =
      "{\"metadata\":{\"total_size\":50},\"weight_map\":{\"a.weight\":\"one.safetensors\","
      "\"b\":\"one.safetensors\",\"c\":\"two.safetensors\"}}";
  static const char part[] = "{\"weight_map\":{\"c\":\"two.safetensors\"}}";
  static const char elsewhere[] =
      "{\"weight_map\":{\"a.weight\":\"two.safetensors\",\"b\":\"one.safetensors\"}}";
  static const char no_names[] =
      "{\"weight_map\":{\"c\":\"../two.safetensors\",\"d\":\"\",\"e\":\"no.safetensors\"}}";
  static const char *const texts[] = {whole, part, elsewhere, no_names};
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
    take(context, texts[i], strlen(texts[i]));
}

static void run_index(const uint8_t *data, size_t size) {
  look(fuzz_put("model.safetensors.index.json", data, size, 0));
}

const fuzz_target fuzz_safetensors_index = {"safetensors_index", 2048, begin_index,
                                            seeds_index,         NULL, run_index};
