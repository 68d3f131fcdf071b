/* Which files make up a model, and an index that says something else than the files. */
#include "io/safetensors.h"

#include <sys/stat.h>

#include "tests/io/safetensors_bytes.h"

/* Each test has a folder of its own, m. */
static int folder_setup(void **state) {
  return scratch_setup(state) || mkdir(scratch_path("m"), 0777) ? -1 : 0;
}

/* m/`name` with float tensors of one element, named by single letters; each has the value `value`,
 * but "?" is of a type that nobody knows, in nine dimensions. */
static void put_shard(const char *name, const char *tensors, float value) {
  char header[1000] = "{\"__metadata__\":null", path[100];
  float data[16];
  size_t n = strlen(header), count = strlen(tensors);
  for (size_t i = 0; i < count; i++) {
    const bool odd = tensors[i] == '?';
    n += (size_t)snprintf(header + n, sizeof header - n,
                          ",\"%c\":{\"dtype\":\"%s\",\"shape\":[%s],\"data_offsets\":[%zu,%zu]}",
                          tensors[i], odd ? "Q7" : "F32", odd ? "1,1,1,1,1,1,1,1,64" : "1", 4 * i,
                          4 * i + 4);
    data[i] = value;
  }
  snprintf(header + n, sizeof header - n, "}");
  snprintf(path, sizeof path, "m/%s", name);
  put_safetensors(scratch_path(path), header, data, 4 * count);
}

static void put_index(const char *map) {
  char text[500];
  snprintf(text, sizeof text, "{\"metadata\":{\"total_size\":1e999},\"weight_map\":{%s}}", map);
  put_text(scratch_path("m/model.safetensors.index.json"), text);
}

static sb_safetensors *open_model(void) {
  sb_safetensors *reader;
  assert_ok(sb_safetensors_open(scratch_path("m"), &reader));
  return reader;
}

static float value_of(const sb_safetensors *reader, const char *name) {
  float value = 0;
  const sb_tensor_info *info = sb_safetensors_find(reader, name);
  assert_non_null(info);
  assert_ok(sb_safetensors_read(reader, info, 0, sizeof value, &value));
  return value;
}

static void unknown_types(void **state) {
  (void)state;
  put_shard("model.safetensors", "a?b", 3);
  sb_safetensors *reader = open_model();
  const sb_tensor_info *odd = sb_safetensors_find(reader, "?");
  assert_int_equal(sb_safetensors_count(reader), 3);
  assert_int_equal(odd->dtype, SB_DTYPE_COUNT);
  assert_string_equal(odd->type_name, "Q7");
  assert_true(odd->dims == 9 && odd->bytes == 4);
  assert_true(value_of(reader, "b") == 3);
  assert_fails(sb_safetensors_require_weight(odd), SB_ERR_UNSUPPORTED, "'?'", "Q7", "BF16");
  sb_safetensors_close(&reader);
}

static void odd_indexes(void **state) {
  (void)state;
  size_t count;
  put_shard("one.safetensors", "abd", 1);
  put_shard("two.safetensors", "cd", 2);
  put_shard("rest.safetensors", "z", 3);
  put_index("\"a\":\"one.safetensors\",\"b\":\"two.safetensors\",\"c\":\"two.safetensors\","
            "\"d\":\"two.safetensors\",\"old\":\"one.safetensors\",\"far\":\"gone.safetensors\","
            "\"a\":\"one.safetensors\"");
  sb_safetensors *reader = open_model();
  const sb_safetensors_oddities odd = sb_safetensors_odd(reader);
  const sb_stale_entry *stale = sb_safetensors_stale(reader, &count);
  assert_true(odd.stale == 2 && odd.moved == 1 && odd.doubled == 1 && count == 2);
  assert_string_equal(stale[0].tensor, "old");
  assert_false(stale[0].file_missing);
  assert_string_equal(stale[1].file, "gone.safetensors");
  assert_true(stale[1].file_missing);
  assert_true(value_of(reader, "a") == 1 && value_of(reader, "b") == 1 &&
              value_of(reader, "c") == 2);
  assert_true(sb_safetensors_find(reader, "b")->moved && !sb_safetensors_find(reader, "a")->moved);
  assert_null(sb_safetensors_find(reader, "z"));
  const sb_tensor_info *d = sb_safetensors_find(reader, "d");
  assert_true(d->twin && !d->twin->twin && d->fd_index + d->twin->fd_index == 1);
  assert_ok(sb_safetensors_lacks(reader, "z"));
  assert_fails(sb_safetensors_lacks(reader, "old"), SB_ERR_FORMAT, "index.json", "'old'",
               "one.safetensors, which lacks it");
  assert_fails(sb_safetensors_lacks(reader, "far"), SB_ERR_IO, "index.json",
               "gone.safetensors that it names is missing (3 shards in all)");
  sb_safetensors_close(&reader);
}

static void without_index(void **state) {
  (void)state;
  sb_safetensors *reader;
  const char *m = scratch_path("m");
  put_shard("consolidated.safetensors", "x", 9);
  assert_fails(sb_safetensors_open(m, &reader), SB_ERR_UNSUPPORTED, m, "consolidated.safetensors",
               "the first name");
  put_shard("model-00003-of-00003.safetensors", "c", 3);
  put_shard("model-00001-of-00003.safetensors", "a", 1);
  assert_fails(sb_safetensors_open(m, &reader), SB_ERR_IO, m, "shard 2 of 3 is missing");
  put_shard("model-00002-of-00003.safetensors", "b", 2);
  reader = open_model();
  assert_true(sb_safetensors_count(reader) == 3 && value_of(reader, "b") == 2);
  assert_string_equal(sb_safetensors_at(reader, 0)->name, "a");
  sb_safetensors_close(&reader);
  unlink(scratch_path("m/model-00003-of-00003.safetensors"));
  assert_fails(sb_safetensors_open(m, &reader), SB_ERR_IO, m, "shard 3 of 3 is missing");
  put_shard("model-00003-of-00004.safetensors", "c", 3);
  assert_fails(sb_safetensors_open(m, &reader), SB_ERR_UNSUPPORTED, m, "different models");
}

static void links_to_nowhere(void **state) {
  (void)state;
  sb_safetensors *reader;
  assert_int_equal(symlink("../blobs/0a1b", scratch_path("m/model.safetensors")), 0);
  assert_fails(sb_safetensors_open(scratch_path("m"), &reader), SB_ERR_IO, "m/model.safetensors",
               "link to ../blobs/0a1b", "not there");
  unlink(scratch_path("m/model.safetensors"));
  assert_int_equal(symlink("x", scratch_path("m/model.safetensors.index.json")), 0);
  assert_fails(sb_safetensors_open(scratch_path("m"), &reader), SB_ERR_IO, "index.json",
               "link to x");
  unlink(scratch_path("m/model.safetensors.index.json"));
  put_index("\"a\":\"one.safetensors\"");
  assert_int_equal(symlink("y", scratch_path("m/one.safetensors")), 0);
  assert_fails(sb_safetensors_open(scratch_path("m"), &reader), SB_ERR_IO, "one.safetensors",
               "link to y");
  unlink(scratch_path("m/one.safetensors"));
  put_shard("elsewhere", "a", 5);
  assert_int_equal(symlink("elsewhere", scratch_path("m/one.safetensors")), 0);
  reader = open_model();
  assert_true(value_of(reader, "a") == 5);
  sb_safetensors_close(&reader);
}

/* Names that share a hash's slot, or all of them: 100 000 are found again. */
static void many_names(void **state) {
  (void)state;
  enum { MANY = 100000 };
  char *header = malloc(100 * MANY), name[32];
  size_t n = 0;
  assert_non_null(header);
  for (size_t i = 0; i < MANY; i++)
    n += (size_t)sprintf(header + n,
                         "%c\"t.%zu\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}",
                         i ? ',' : '{', i);
  strcpy(header + n, "}");
  put_safetensors(scratch_path("m/model.safetensors"), header, NULL, 0);
  free(header);
  sb_safetensors *reader = open_model();
  assert_int_equal(sb_safetensors_count(reader), MANY);
  for (size_t i = 0; i < MANY; i++) {
    snprintf(name, sizeof name, "t.%zu", i);
    const sb_tensor_info *info = sb_safetensors_find(reader, name);
    assert_non_null(info);
    assert_string_equal(info->name, name);
  }
  assert_null(sb_safetensors_find(reader, "t.100000"));
  sb_safetensors_close(&reader);
}

int main(void) {
#define TEST(function) cmocka_unit_test_setup_teardown(function, folder_setup, scratch_teardown)
  const struct CMUnitTest tests[] = {TEST(unknown_types), TEST(odd_indexes), TEST(without_index),
                                     TEST(links_to_nowhere), TEST(many_names)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
