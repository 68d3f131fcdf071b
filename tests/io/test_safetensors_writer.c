/* The safetensors writer: its bytes, several processes on one file, and what it refuses. */
#include "io/safetensors_writer.h"

#include <sys/stat.h>
#include <sys/wait.h>

#include "io/safetensors.h"
#include "tests/support/files.h"
#include "tests/support/random.h"
#include "tests/support/scratch.h"

static const sb_tensor_spec specs[] = {
    {.name = "half", .dtype = SB_BF16, .dims = 1, .shape = {3}},
    {.name = "full", .dtype = SB_F32, .dims = 2, .shape = {2, 1}},
    {.name = "byte", .dtype = SB_U8, .dims = 1, .shape = {5}},
};
static const char *const metadata[] = {"format", "pt", NULL};

/* The file as the format's documentation gives it, spelled out: larger elements first, header
 * padded to 8 bytes. */
static void bytes_on_disk(void **state) {
  (void)state;
  static const char json[] = "{\"__metadata__\":{\"format\":\"pt\"},"
                             "\"full\":{\"dtype\":\"F32\",\"shape\":[2,1],\"data_offsets\":[0,8]},"
                             "\"half\":{\"dtype\":\"BF16\",\"shape\":[3],\"data_offsets\":[8,14]},"
                             "\"byte\":{\"dtype\":\"U8\",\"shape\":[5],\"data_offsets\":[14,19]}}";
  const size_t length = strlen(json), padded = (length + 7) / 8 * 8;
  sb_safetensors_writer *writer;
  assert_ok(
      sb_safetensors_writer_create(scratch_path("w.safetensors"), specs, 3, metadata, &writer));
  assert_int_equal(sb_safetensors_writer_bytes(writer), 8 + padded + 19);
  assert_ok(sb_safetensors_writer_write(writer, 0, 0, 6, "abcdef"));
  assert_ok(sb_safetensors_writer_write(writer, 1, 4, 4, "WXYZ"));
  assert_ok(sb_safetensors_writer_write(writer, 1, 0, 4, "STUV"));
  assert_ok(sb_safetensors_writer_write(writer, 2, 0, 5, "12345"));
  assert_fails(sb_safetensors_writer_write(writer, 2, 1, 5, "12345"), SB_ERR_INTERNAL,
               "w.safetensors");
  assert_fails(sb_safetensors_writer_write(writer, 3, 0, 1, "1"), SB_ERR_INTERNAL, "tensor 3");
  assert_ok(sb_safetensors_writer_finish(writer));
  sb_safetensors_writer_free(&writer);
  size_t bytes;
  unsigned char *image = get_file(scratch_path("w.safetensors"), &bytes);
  assert_int_equal(bytes, 8 + padded + 19);
  assert_int_equal(image[0] + 256u * image[1], padded);
  assert_memory_equal(image + 8, json, length);
  for (size_t i = length; i < padded; i++) assert_int_equal(image[8 + i], ' ');
  assert_memory_equal(image + 8 + padded, "STUVWXYZabcdef12345", 19);
  free(image);
}

/* Another process joins and writes its half of the rows. */
static void two_processes(void **state) {
  (void)state;
  enum { ROWS = 64, ROW = 1000 };
  const sb_tensor_spec spec = {.name = "m", .dtype = SB_F32, .dims = 2, .shape = {ROWS, ROW / 4}};
  static unsigned char data[ROWS * ROW], got[ROWS * ROW];
  fill_random(data, sizeof data, 1);
  sb_safetensors_writer *writer;
  assert_ok(sb_safetensors_writer_create(scratch_path("two.safetensors"), &spec, 1, NULL, &writer));
  pid_t child = fork();
  if (child == 0) {
    sb_safetensors_writer *other;
    int failed = sb_safetensors_writer_join(scratch_path("two.safetensors"), &spec, 1, NULL,
                                            &other) != SB_OK;
    for (size_t r = 1; !failed && r < ROWS; r += 2)
      failed = sb_safetensors_writer_write(other, 0, r * ROW, ROW, data + r * ROW) != SB_OK;
    if (!failed) failed = sb_safetensors_writer_finish(other) != SB_OK;
    _exit(failed);
  }
  for (size_t r = 0; r < ROWS; r += 2)
    assert_ok(sb_safetensors_writer_write(writer, 0, r * ROW, ROW, data + r * ROW));
  assert_ok(sb_safetensors_writer_finish(writer));
  sb_safetensors_writer_free(&writer);
  int result;
  assert_int_equal(waitpid(child, &result, 0), child);
  assert_int_equal(result, 0);
  sb_safetensors *reader;
  assert_ok(sb_safetensors_open(scratch_path("two.safetensors"), &reader));
  assert_ok(sb_safetensors_read(reader, sb_safetensors_at(reader, 0), 0, sizeof got, got));
  assert_memory_equal(got, data, sizeof got);
  sb_safetensors_close(&reader);
}

static void joining_something_else(void **state) {
  (void)state;
  sb_safetensors_writer *writer, *other;
  sb_tensor_spec renamed = specs[0], longer = specs[0];
  renamed.name = "hilf";
  longer.shape[0] = 4;
  assert_fails(sb_safetensors_writer_join(scratch_path("none"), specs, 1, NULL, &other), SB_ERR_IO,
               "none", "cannot be opened");
  assert_ok(sb_safetensors_writer_create(scratch_path("j"), specs, 1, NULL, &writer));
  assert_fails(sb_safetensors_writer_join(scratch_path("j"), &renamed, 1, NULL, &other),
               SB_ERR_INTERNAL, "/j", "other tensors");
  assert_fails(sb_safetensors_writer_join(scratch_path("j"), &longer, 1, NULL, &other),
               SB_ERR_INTERNAL, "/j", "bytes");
  assert_null(other);
  sb_safetensors_writer_free(&writer);
}

static void refused_specs(void **state) {
  (void)state;
  sb_safetensors_writer *writer;
  sb_tensor_spec twice[2] = {specs[0], specs[0]};
  sb_tensor_spec huge = {
      .name = "huge", .dtype = SB_F32, .dims = 2, .shape = {(size_t)1 << 40, (size_t)1 << 40}};
  sb_tensor_spec invalid = {.name = "\xff", .dtype = SB_F32, .dims = 0};
  assert_fails(sb_safetensors_writer_create(scratch_path("t"), twice, 2, NULL, &writer),
               SB_ERR_INTERNAL, "'half'", "twice");
  assert_fails(sb_safetensors_writer_create(scratch_path("h"), &huge, 1, NULL, &writer),
               SB_ERR_RANGE, "'huge'", "overflow");
  assert_fails(sb_safetensors_writer_create(scratch_path("u"), &invalid, 1, NULL, &writer),
               SB_ERR_INTERNAL, "UTF-8");
  assert_fails(
      sb_safetensors_writer_create(scratch_path("no/such/folder"), specs, 1, NULL, &writer),
      SB_ERR_IO, "no/such/folder", "created");
  assert_null(writer);
  assert_int_not_equal(access(scratch_path("t"), F_OK), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(bytes_on_disk),
      cmocka_unit_test(two_processes),
      cmocka_unit_test(joining_something_else),
      cmocka_unit_test(refused_specs),
  };
  return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
