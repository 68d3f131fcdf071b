/* Sealed JSON files: what was written is read; any bit that changes, any byte that is missing or
 * added, is noticed. */
#include "io/seal.h"

#include "tests/support/files.h"
#include "tests/support/scratch.h"

/* Whether a later run would trust the file. */
static bool trusted(const char *path) {
  json_t *root = NULL;
  bool whole = true;
  const sb_status status = sb_sealed_read(path, &root, &whole);
  if (status != SB_OK) assert_true(!whole && !root);
  json_decref(root);
  return status == SB_OK && whole;
}

static json_t *some(void) {
  return json_pack("{s:s, s:i, s:f, s:{s:s}, s:[i,i]}", "format", "a test", "version", 3, "loss",
                   0.1234567890123456, "key", "checksum", "0000000000000000", "list", 1, 2);
}

static void every_bit(void **state) {
  (void)state;
  const char *path = scratch_path("sealed");
  json_t *object = some(), *read = NULL, *expected = some();
  size_t bytes;
  bool whole = false;
  assert_ok(sb_sealed_write(path, object));
  assert_ok(sb_sealed_write(path, object)); /* one that has a checksum already */
  assert_ok(sb_sealed_read(path, &read, &whole));
  assert_true(whole);
  json_object_set(expected, "checksum", json_object_get(read, "checksum"));
  assert_true(json_equal(read, expected));
  unsigned char *data = get_file(path, &bytes);
  for (size_t bit = 0; bit < 8 * bytes; bit++) {
    data[bit / 8] ^= (unsigned char)(1u << bit % 8);
    put_file(path, data, bytes);
    if (trusted(path)) fail_msg("bit %zu of byte %zu is not noticed", bit % 8, bit / 8);
    data[bit / 8] ^= (unsigned char)(1u << bit % 8);
  }
  for (size_t shorter = 0; shorter < bytes; shorter++) {
    put_file(path, data, shorter);
    assert_false(trusted(path));
  }
  data[bytes] = '\n';
  put_file(path, data, bytes + 1);
  assert_false(trusted(path));
  put_file(path, data, bytes);
  assert_true(trusted(path));
  free(data);
  json_decref(object);
  json_decref(read);
  json_decref(expected);
}

static void without_a_seal(void **state) {
  (void)state;
  put_text(scratch_path("plain"), "{\"format\": \"a test\"}\n");
  assert_false(trusted(scratch_path("plain")));
  put_text(scratch_path("short"), "{}");
  assert_false(trusted(scratch_path("short")));
  json_t *root;
  bool whole;
  assert_fails(sb_sealed_read(scratch_path("none"), &root, &whole), SB_ERR_IO, "none");
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(every_bit), cmocka_unit_test(without_a_seal)};
  return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
