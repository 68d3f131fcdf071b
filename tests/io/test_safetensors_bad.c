/* Every way a safetensors file or folder can be wrong, and the line the user gets for it. */
#include "io/safetensors.h"

#include <sys/stat.h>

#include "tests/io/safetensors_bytes.h"

static const unsigned char zeros[64];

/* One file per case: header, bytes of data, expected status and what the message must contain. */
static const struct {
  const char *name, *header;
  size_t bytes;
  sb_status status;
  const char *says, *also;
} cases[] = {
    {"not-json", "{\"a\":", 0, SB_ERR_FORMAT, "not valid JSON", "line 1"},
    {"garbage-after", "{} x", 0, SB_ERR_FORMAT, "not valid JSON", "header"},
    {"array", "[1,2]", 0, SB_ERR_FORMAT, "not an object", "header"},
    {"duplicate",
     "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
     "\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}",
     8, SB_ERR_FORMAT, "duplicated key", "\"a\""},
    {"no-dtype", "{\"a\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 4, SB_ERR_FORMAT, "no dtype",
     "'a'"},
    {"not-a-tensor", "{\"a\":7}", 0, SB_ERR_FORMAT, "no dtype", "'a'"},
    {"no-shape", "{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4, SB_ERR_FORMAT, "no shape",
     "'a'"},
    {"negative", "{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}", 4,
     SB_ERR_FORMAT, "dimension 0", "'a'"},
    {"real-shape", "{\"a\":{\"dtype\":\"F32\",\"shape\":[1.0],\"data_offsets\":[0,4]}}", 4,
     SB_ERR_FORMAT, "dimension 0", "'a'"},
    {"overflow",
     "{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296,16],\"data_offsets\":[0,4]}}", 4,
     SB_ERR_FORMAT, "overflows", "'a'"},
    {"wraps-to-4", /* 2^62 x 4 bytes x 1 wraps to 0 in 64 bits */
     "{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904],\"data_offsets\":[0,0]}}", 0,
     SB_ERR_FORMAT, "overflows", "'a'"},
    {"mismatch", "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", 4,
     SB_ERR_FORMAT, "need 8 bytes", "hold 4"},
    {"backwards", "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}}", 4,
     SB_ERR_FORMAT, "[4, 0]", "'a'"},
    {"offsets", "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]}}", 4, SB_ERR_FORMAT,
     "data_offsets", "'a'"},
    {"offset-text", "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,\"4\"]}}", 4,
     SB_ERR_FORMAT, "data_offsets", "'a'"},
    {"out-of-bounds", "{\"a\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]}}", 12,
     SB_ERR_FORMAT, "truncated", "which has 12"},
    {"overlap",
     "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
     "\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[4,12]}}",
     12, SB_ERR_FORMAT, "overlap", "'a' and 'b'"},
    {"same-place",
     "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
     "\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}",
     8, SB_ERR_FORMAT, "overlap", "'a' and 'b'"},
    {"gap",
     "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
     "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[8,12]}}",
     12, SB_ERR_FORMAT, "4 bytes before tensor 'b'", "gap"},
    {"trailing", "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 7,
     SB_ERR_FORMAT, "3 bytes after the last tensor", "gap"},
    {"newline", "{\"a\\nb\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", 4,
     SB_ERR_FORMAT, "a\\nb", "need 8"},
    {"huge-offset",
     "{\"a\":{\"dtype\":\"Q7\",\"shape\":[1],\"data_offsets\":[0,99999999999999999999]}}", 4,
     SB_ERR_FORMAT, "data_offsets", "'a'"},
    {"unknown-beyond", "{\"a\":{\"dtype\":\"Q7\",\"shape\":[1],\"data_offsets\":[0,99]}}", 4,
     SB_ERR_FORMAT, "truncated", "which has 4"},
    {"deep-metadata", NULL, 0, SB_ERR_FORMAT, "too many brackets", "header"},
};

static void bad_files(void **state) {
  (void)state;
  static char deep[20000] = "{\"__metadata__\":";
  memset(deep + strlen(deep), '[', 10000);
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    sb_safetensors *reader;
    put_safetensors(scratch_path(cases[i].name), cases[i].header ? cases[i].header : deep, zeros,
                    cases[i].bytes);
    assert_fails(sb_safetensors_open(scratch_path(cases[i].name), &reader), cases[i].status,
                 scratch_path(cases[i].name), cases[i].says, cases[i].also);
    assert_null(reader);
  }
}

static void bad_lengths(void **state) {
  (void)state;
  sb_safetensors *reader;
  const char *path = scratch_path("length");
  put_safetensors_length(path, 3000, "{}", NULL, 0);
  assert_fails(sb_safetensors_open(path, &reader), SB_ERR_FORMAT, path, "3000", "truncated");
  put_safetensors_length(path, 100000001, "{}", NULL, 0);
  assert_fails(sb_safetensors_open(path, &reader), SB_ERR_FORMAT, path, "100000001", "limit");
  put_safetensors_length(path, UINT64_MAX - 3, "{}", NULL, 0);
  assert_fails(sb_safetensors_open(path, &reader), SB_ERR_FORMAT, path, "limit");
  put_file(path, "abc", 3);
  assert_fails(sb_safetensors_open(path, &reader), SB_ERR_FORMAT, path, "3 bytes");
  put_file(path, "", 0);
  assert_fails(sb_safetensors_open(path, &reader), SB_ERR_FORMAT, path, "0 bytes");
  static const char pointer[] =
      "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n";
  put_file(path, pointer, strlen(pointer));
  assert_fails(sb_safetensors_open(path, &reader), SB_ERR_FORMAT, path, "Git LFS pointer",
               "git lfs pull");
}

static void bad_paths(void **state) {
  (void)state;
  sb_safetensors *reader;
  assert_fails(sb_safetensors_open(scratch_path("nowhere"), &reader), SB_ERR_IO, "nowhere",
               "No such file");
  mkdir(scratch_path("empty"), 0777);
  assert_fails(sb_safetensors_open(scratch_path("empty"), &reader), SB_ERR_UNSUPPORTED, "empty",
               "model.safetensors", "model.safetensors.index.json");
  put_file(scratch_path("empty/pytorch_model.bin"), "x", 1);
  assert_fails(sb_safetensors_open(scratch_path("empty"), &reader), SB_ERR_UNSUPPORTED, "empty",
               "pytorch_model.bin", "safe_serialization");
  mkdir(scratch_path("folder"), 0777);
  mkdir(scratch_path("folder/model.safetensors"), 0777);
  assert_fails(sb_safetensors_open(scratch_path("folder"), &reader), SB_ERR_IO, "model.safetensors",
               "is a folder");
}

static const char tensor_w[] = "{\"w\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}";

/* A folder with shards one.safetensors and two.safetensors, both with the given
 * headers, and an index. */
static sb_status open_folder(const char *one, const char *two, const char *index) {
  sb_safetensors *reader;
  mkdir(scratch_path("idx"), 0777);
  unlink(scratch_path("idx/one.safetensors"));
  unlink(scratch_path("idx/two.safetensors"));
  if (one) put_safetensors(scratch_path("idx/one.safetensors"), one, zeros, 4);
  if (two) put_safetensors(scratch_path("idx/two.safetensors"), two, zeros, 4);
  put_file(scratch_path("idx/model.safetensors.index.json"), index, strlen(index));
  sb_status status = sb_safetensors_open(scratch_path("idx"), &reader);
  sb_safetensors_close(&reader);
  return status;
}

static void bad_indexes(void **state) {
  (void)state;
  static const char tensor_v[] = "{\"v\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}";
  static const char both[] =
      "{\"weight_map\":{\"w\":\"one.safetensors\",\"v\":\"two.safetensors\"}}";
  const char *index = "model.safetensors.index.json";
  assert_ok(open_folder(tensor_w, tensor_v, both));
  assert_fails(open_folder(NULL, NULL, both), SB_ERR_IO, index, "none of the 2 shards",
               "one.safetensors");
  assert_fails(
      open_folder(tensor_w, tensor_v, "{\"weight_map\":{\"w\":\"../idx/one.safetensors\"}}"),
      SB_ERR_FORMAT, index, "'w'", "plain file name");
  assert_fails(open_folder(tensor_w, tensor_v, "{\"weight_map\":{\"w\":3}}"), SB_ERR_FORMAT, index,
               "'w'");
  assert_fails(open_folder(tensor_w, tensor_v, "{\"weight_map\":{}}"), SB_ERR_FORMAT, index,
               "no tensor");
  assert_fails(open_folder(tensor_w, tensor_v, "{}"), SB_ERR_FORMAT, index, "weight_map",
               "missing");
  assert_fails(open_folder(tensor_w, tensor_v, "nonsense"), SB_ERR_FORMAT, index, "not valid JSON");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(bad_files),
      cmocka_unit_test(bad_lengths),
      cmocka_unit_test(bad_paths),
      cmocka_unit_test(bad_indexes),
  };
  return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
