/* manifest.json (io/manifest.h). An accepted one is written and read again: the same.
 *
 * Input: u8 mode, then the JSON. Unless the mode is 0, numbers that follow from others (frames of a
 * tensor, sums over shards) are made to fit first. */
#include <stdlib.h>
#include <string.h>

#include "io/file.h"
#include "io/json.h"
#include "io/manifest.h"
#include "tests/fuzz/target.h"

enum { MOST = 4096 };

static const char plain[] =
    "{\"format\":\"shardbits\",\"format_version\":1,\"program_version\":\"0.1.0\","
    "\"blocks\":{\"rows\":16,\"cols\":32},\"symmetry\":\"asymmetric\","
    "\"totals\":{\"effective_bits\":3.25,\"code_bits\":3.0,\"stored_bytes\":1000},"
    "\"content_hash\":\"0123456789abcdef\",\"model\":{\"config\":{}},\"tensors\":["
    "{\"name\":\"e\",\"dtype\":\"BF16\",\"shape\":[40,48],\"kind\":\"raw\",\"frames\":3},"
    "{\"name\":\"q\",\"dtype\":\"F32\",\"shape\":[48,48],\"kind\":\"quantized\",\"frames\":3},"
    "{\"name\":\"n\",\"dtype\":\"F16\",\"shape\":[48],\"kind\":\"raw\",\"frames\":1}],"
    "\"shards\":[{\"file\":\"s0\",\"bytes\":400,\"frames\":3,\"index_checksum\":"
    "\"0123456789abcdef\"},{\"file\":\"s1\",\"bytes\":600,\"frames\":4,\"index_checksum\":"
    "\"fedcba9876543210\"}]}";
static const char ordered[] =
    "{\"format\":\"shardbits\",\"format_version\":2,\"program_version\":\"0.1.0\","
    "\"blocks\":{\"rows\":128,\"cols\":128},\"symmetry\":\"symmetric\","
    "\"totals\":{\"effective_bits\":2,\"code_bits\":1.5,\"stored_bytes\":900},"
    "\"content_hash\":\"0000000000000000\",\"model\":{},\"tensors\":["
    "{\"name\":\"q\",\"dtype\":\"F32\",\"shape\":[256,384],\"kind\":\"quantized\",\"frames\":2,"
    "\"row_order\":1,\"col_order\":2},"
    "{\"name\":\"r\",\"dtype\":\"U32\",\"shape\":[256],\"kind\":\"order\",\"frames\":1},"
    "{\"name\":\"c\",\"dtype\":\"U32\",\"shape\":[384],\"kind\":\"order\",\"frames\":1}],"
    "\"shards\":[{\"file\":\"s\",\"bytes\":900,\"frames\":4,\"index_checksum\":"
    "\"0123456789abcdef\"}]}";

static const char trellis[] =
    "{\"format\":\"shardbits\",\"format_version\":3,\"program_version\":\"0.1.0\","
    "\"blocks\":{\"rows\":128,\"cols\":128},\"codes\":\"trellis-12\","
    "\"totals\":{\"effective_bits\":2,\"code_bits\":1.5,\"stored_bytes\":900},"
    "\"content_hash\":\"0000000000000000\",\"model\":{},\"tensors\":["
    "{\"name\":\"q\",\"dtype\":\"F32\",\"shape\":[256,384],\"kind\":\"quantized\",\"frames\":2,"
    "\"col_signs\":\"0200000000000003\"}],"
    "\"shards\":[{\"file\":\"s\",\"bytes\":900,\"frames\":2,\"index_checksum\":"
    "\"0123456789abcdef\"}]}";

static const char tables[] =
    "{\"format\":\"shardbits\",\"format_version\":3,\"program_version\":\"0.1.0\","
    "\"blocks\":{\"rows\":128,\"cols\":128},\"codes\":\"trellis-12\","
    "\"totals\":{\"effective_bits\":2,\"code_bits\":1.5,\"stored_bytes\":900},"
    "\"content_hash\":\"0000000000000000\",\"model\":{},\"tensors\":["
    "{\"name\":\"e\",\"dtype\":\"F32\",\"shape\":[256,384],\"kind\":\"quantized\",\"frames\":2,"
    "\"codes\":\"grid\"}],"
    "\"shards\":[{\"file\":\"s\",\"bytes\":900,\"frames\":2,\"index_checksum\":"
    "\"0123456789abcdef\"}]}";

static const char grids[] =
    "{\"format\":\"shardbits\",\"format_version\":4,\"program_version\":\"0.1.0\","
    "\"blocks\":{\"rows\":128,\"cols\":128},\"symmetry\":\"signed\",\"scales\":\"bf16\","
    "\"totals\":{\"effective_bits\":2,\"code_bits\":1.5,\"stored_bytes\":900},"
    "\"content_hash\":\"0000000000000000\",\"model\":{},\"tensors\":["
    "{\"name\":\"e\",\"dtype\":\"F32\",\"shape\":[256,384],\"kind\":\"quantized\",\"frames\":2,"
    "\"codes\":\"signed-grid\"}],"
    "\"shards\":[{\"file\":\"s\",\"bytes\":900,\"frames\":2,\"index_checksum\":"
    "\"0123456789abcdef\"}]}";

static void seeds(fuzz_take take, void *context) {
  static const char *const texts[] = {plain, ordered, trellis, tables, grids};
  for (size_t i = 0; i < 10; i++) {
    uint8_t input[MOST] = {(uint8_t)(i / 5)};
    const size_t bytes = strlen(texts[i % 5]);
    memcpy(input + 1, texts[i % 5], bytes);
    take(context, input, 1 + bytes);
  }
}

static uint64_t fit_tensors(json_t *tensors, size_t block_rows) {
  uint64_t frames = 0;
  for (size_t i = 0; i < json_array_size(tensors); i++) {
    json_t *tensor = json_array_get(tensors, i);
    const json_t *extents = json_object_get(tensor, "shape");
    size_t shape[SB_TENSOR_MAX_DIMS] = {0};
    const size_t dims = json_array_size(extents);
    if (dims > SB_TENSOR_MAX_DIMS) continue;
    for (size_t d = 0; d < dims; d++)
      shape[d] = (size_t)json_integer_value(json_array_get(extents, d));
    const size_t own = sb_manifest_frames(dims, shape, block_rows);
    if (json_is_object(tensor))
      json_object_set_new(tensor, "frames", json_integer((json_int_t)own));
    frames += own;
  }
  return frames;
}

/* The last shard gets the frames that are left. */
static void fit(json_t *root) {
  const json_int_t rows =
      json_integer_value(json_object_get(json_object_get(root, "blocks"), "rows"));
  json_t *totals = json_object_get(root, "totals"), *shards = json_object_get(root, "shards");
  if (rows < 1) return;
  uint64_t frames = fit_tensors(json_object_get(root, "tensors"), (size_t)rows), bytes = 0;
  for (size_t i = 0; i < json_array_size(shards); i++) {
    json_t *shard = json_array_get(shards, i);
    bytes += (uint64_t)json_integer_value(json_object_get(shard, "bytes"));
    if (i + 1 == json_array_size(shards) && json_is_object(shard))
      json_object_set_new(shard, "frames", json_integer((json_int_t)frames));
    frames -= (uint64_t)json_integer_value(json_object_get(shard, "frames"));
  }
  if (json_is_object(totals))
    json_object_set_new(totals, "stored_bytes", json_integer((json_int_t)bytes));
}

static void same(const sb_manifest *a, const sb_manifest *b) {
  fuzz_require(a->tensor_count == b->tensor_count && a->shard_count == b->shard_count);
  fuzz_require(a->block_rows == b->block_rows && a->block_cols == b->block_cols);
  fuzz_require(a->content_hash == b->content_hash && a->stored_bytes == b->stored_bytes);
  fuzz_require(a->effective_bits == b->effective_bits && a->code_bits == b->code_bits);
  fuzz_require(json_equal(a->model, b->model));
  fuzz_require(a->symmetry == b->symmetry && a->scales == b->scales && !a->codes == !b->codes);
  fuzz_require(!a->codes || strcmp(a->codes, b->codes) == 0);
  for (size_t i = 0; i < a->tensor_count; i++) {
    const sb_manifest_tensor *s = &a->tensors[i], *t = &b->tensors[i];
    fuzz_require(strcmp(s->name, t->name) == 0 && s->kind == t->kind && s->dtype == t->dtype);
    fuzz_require(s->dims == t->dims && s->frames == t->frames);
    fuzz_require(memcmp(s->shape, t->shape, s->dims * sizeof *s->shape) == 0);
    fuzz_require(!s->codes == !t->codes && (!s->codes || strcmp(s->codes, t->codes) == 0));
    fuzz_require(s->col_signs == t->col_signs && s->row_order == t->row_order &&
                 s->col_order == t->col_order);
  }
}

static void run(const uint8_t *data, size_t size) {
  fuzz_cursor in = {data, size};
  const bool as_it_is = fuzz_u8(&in) == 0;
  sb_manifest read = {0}, again = {0};
  json_t *root = as_it_is ? NULL : json_loadb((const char *)in.at, in.left, 0, NULL);
  char *text = NULL;
  if (root) {
    fit(root);
    text = json_dumps(root, JSON_COMPACT | JSON_ENCODE_ANY);
    json_decref(root);
  }
  fuzz_put(SB_MANIFEST_NAME, text ? text : (const char *)in.at, text ? strlen(text) : in.left, 0);
  free(text);
  if (!fuzz_settle(sb_manifest_read(fuzz_folder(), &read))) return;
  fuzz_require(sb_manifest_write(fuzz_folder(), &read) == SB_OK);
  fuzz_require(sb_manifest_read(fuzz_folder(), &again) == SB_OK);
  same(&read, &again);
  sb_manifest_free(&read);
  sb_manifest_free(&again);
}

const fuzz_target fuzz_manifest = {"manifest", MOST, NULL, seeds, NULL, run};
