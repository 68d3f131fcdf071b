/* Good safetensors files and folders, made from hand-written bytes. */
#include "io/safetensors.h"
#include "io/safetensors_header.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "tests/io/safetensors_bytes.h"

/* Two matrices, a scalar and an empty tensor; data bytes 0, 1, 2, ... */
static const char header[] =
    "{\"__metadata__\":{\"format\":\"pt\"},"
    "\"b\":{\"dtype\":\"BF16\",\"shape\":[2,3],\"data_offsets\":[8,20]},"
    "\"a.weight\":{\"dtype\":\"F32\",\"shape\":[1,2],\"data_offsets\":[0,8]},"
    "\"scalar\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[20,28]},"
    "\"empty\":{\"dtype\":\"F16\",\"shape\":[0,7],\"data_offsets\":[28,28]}}   ";

static void put_good(const char *path) {
  unsigned char data[28];
  for (int i = 0; i < 28; i++) data[i] = (unsigned char)i;
  put_safetensors(path, header, data, sizeof data);
}

static void metadata(void **state) {
  (void)state;
  json_t *found;
  put_good(scratch_path("one.safetensors"));
  assert_ok(sb_safetensors_metadata_read(scratch_path("one.safetensors"), &found));
  assert_int_equal(json_object_size(found), 1);
  assert_string_equal(json_string_value(json_object_get(found, "format")), "pt");
  json_decref(found);
  put_safetensors(
      scratch_path("odd"),
      "{\"a\":{\"__metadata__\":{\"x\":\"y\"}},\"__metadata__\":{\"n\":1,\"s\":\"\\u00e9\"}}", "",
      0);
  assert_ok(sb_safetensors_metadata_read(scratch_path("odd"), &found));
  assert_int_equal(json_object_size(found), 1);
  assert_string_equal(json_string_value(json_object_get(found, "s")), "\xc3\xa9");
  json_decref(found);
  put_safetensors(scratch_path("none"), "{}", "", 0);
  assert_ok(sb_safetensors_metadata_read(scratch_path("none"), &found));
  assert_int_equal(json_object_size(found), 0);
  json_decref(found);
  put_safetensors(scratch_path("odd"), "[1]", "", 0);
  assert_fails(sb_safetensors_metadata_read(scratch_path("odd"), &found), SB_ERR_FORMAT, "odd");
  assert_null(found);
}

static void single_file(void **state) {
  (void)state;
  sb_safetensors *reader;
  unsigned char bytes[12];
  put_good(scratch_path("one.safetensors"));
  assert_ok(sb_safetensors_open(scratch_path("one.safetensors"), &reader));
  assert_int_equal(sb_safetensors_count(reader), 4);
  assert_int_equal(sb_safetensors_total_bytes(reader), 28);
  assert_string_equal(sb_safetensors_at(reader, 0)->name, "a.weight"); /* the order on disk */
  assert_string_equal(sb_safetensors_at(reader, 1)->name, "b");
  assert_null(sb_safetensors_find(reader, "a"));
  const sb_tensor_info *b = sb_safetensors_find(reader, "b");
  assert_non_null(b);
  assert_int_equal(b->dtype, SB_BF16);
  assert_int_equal(b->dims, 2);
  assert_int_equal(b->shape[0], 2);
  assert_int_equal(b->shape[1], 3);
  assert_int_equal(b->bytes, 12);
  assert_int_equal(b->offset, 8 + strlen(header) + 8);
  assert_ok(sb_safetensors_read(reader, b, 6, 6, bytes)); /* its second row */
  for (int i = 0; i < 6; i++) assert_int_equal(bytes[i], 8 + 6 + i);
  assert_int_equal(sb_safetensors_find(reader, "scalar")->dims, 0);
  assert_int_equal(sb_safetensors_find(reader, "empty")->bytes, 0);
  assert_fails(sb_safetensors_read(reader, b, 8, 5, bytes), SB_ERR_INTERNAL, "one.safetensors",
               "'b'", "12");
  assert_fails(sb_safetensors_read(reader, b, UINT64_MAX, 5, bytes), SB_ERR_INTERNAL, "'b'");
  sb_safetensors_close(&reader);
  assert_null(reader);
}

static void weights_are_required_by_name(void **state) {
  (void)state;
  sb_safetensors *reader;
  put_good(scratch_path("types.safetensors"));
  assert_ok(sb_safetensors_open(scratch_path("types.safetensors"), &reader));
  assert_ok(sb_safetensors_require_weight(sb_safetensors_find(reader, "b")));
  assert_fails(sb_safetensors_require_weight(sb_safetensors_find(reader, "scalar")),
               SB_ERR_UNSUPPORTED, "types.safetensors", "'scalar'", "I64", "BF16");
  sb_safetensors_close(&reader);
}

static void put_folder(const char *folder) {
  char path[600];
  float value = 1;
  mkdir(folder, 0777);
  for (int i = 1; i <= 3; i++) {
    char text[200];
    snprintf(path, sizeof path, "%s/model-0000%d-of-00003.safetensors", folder, i);
    snprintf(text, sizeof text,
             "{\"w%d\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", i);
    value = (float)i;
    put_safetensors(path, text, &value, sizeof value);
  }
  static const char index[] =
      "{\"metadata\":{\"total_size\":12},\"weight_map\":{"
      "\"w3\":\"model-00003-of-00003.safetensors\",\"w1\":\"model-00001-of-00003.safetensors\","
      "\"w2\":\"model-00002-of-00003.safetensors\"}}";
  snprintf(path, sizeof path, "%s/model.safetensors.index.json", folder);
  put_file(path, index, strlen(index));
}

static void check_folder(const char *path) {
  sb_safetensors *reader;
  float value;
  assert_ok(sb_safetensors_open(path, &reader));
  assert_int_equal(sb_safetensors_count(reader), 3);
  for (int i = 1; i <= 3; i++) {
    char name[8];
    snprintf(name, sizeof name, "w%d", i);
    const sb_tensor_info *info = sb_safetensors_find(reader, name);
    assert_non_null(info);
    assert_ptr_equal(info, sb_safetensors_at(reader, (size_t)i - 1));
    assert_int_equal(info->fd_index, i - 1);
    assert_ok(sb_safetensors_read(reader, info, 0, 4, &value));
    assert_true(value == (float)i);
  }
  sb_safetensors_close(&reader);
}

static void sharded_folder(void **state) {
  (void)state;
  put_folder(scratch_path("sharded"));
  check_folder(scratch_path("sharded"));
  check_folder(scratch_path("sharded/model.safetensors.index.json"));
}

static void single_folder(void **state) {
  (void)state;
  sb_safetensors *reader;
  mkdir(scratch_path("single"), 0777);
  put_good(scratch_path("single/model.safetensors"));
  assert_ok(sb_safetensors_open(scratch_path("single"), &reader));
  assert_int_equal(sb_safetensors_count(reader), 4);
  sb_safetensors_close(&reader);
}

/* A file of 5 GiB, sparse: offsets beyond 32 bits, also those inside one tensor. */
static void beyond_4_gib(void **state) {
  (void)state;
  const uint64_t big = (uint64_t)5 << 30;
  char text[300];
  sb_safetensors *reader;
  snprintf(text, sizeof text,
           "{\"big\":{\"dtype\":\"BF16\",\"shape\":[1048576,2560],\"data_offsets\":[0,%llu]},"
           "\"last\":{\"dtype\":\"F32\",\"shape\":[2,2],\"data_offsets\":[%llu,%llu]}}",
           (unsigned long long)big, (unsigned long long)big, (unsigned long long)(big + 16));
  put_safetensors(scratch_path("big.safetensors"), text, NULL, 0);
  off_t data = (off_t)(8 + strlen(text));
  const float last[4] = {1, 2, 3, 4};
  const uint16_t row[2] = {0x1234, 0x5678};
  int fd = open(scratch_path("big.safetensors"), O_RDWR);
  assert_int_equal(pwrite(fd, last, sizeof last, data + (off_t)big), sizeof last);
  assert_int_equal(pwrite(fd, row, sizeof row, data + (off_t)big - 5120), sizeof row);
  close(fd);
  assert_ok(sb_safetensors_open(scratch_path("big.safetensors"), &reader));
  float second[2];
  uint16_t got[2];
  assert_ok(
      sb_safetensors_read(reader, sb_safetensors_find(reader, "last"), 8, sizeof second, second));
  assert_true(second[0] == 3 && second[1] == 4);
  assert_ok(sb_safetensors_read(reader, sb_safetensors_find(reader, "big"),
                                (uint64_t)1048575 * 5120, sizeof got, got));
  assert_memory_equal(got, row, sizeof row);
  assert_true(sb_safetensors_total_bytes(reader) == big + 16);
  sb_safetensors_close(&reader);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(metadata),
      cmocka_unit_test(single_file),
      cmocka_unit_test(weights_are_required_by_name),
      cmocka_unit_test(sharded_folder),
      cmocka_unit_test(single_folder),
      cmocka_unit_test(beyond_4_gib),
  };
  return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
