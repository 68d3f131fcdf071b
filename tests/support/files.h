/* Files from bytes and back. */
#ifndef SB_TESTS_SUPPORT_FILES_H
#define SB_TESTS_SUPPORT_FILES_H

#include <unistd.h>

#include "tests/support/assertions.h"

static inline void put_file(const char *path, const void *data, size_t bytes) {
  /* ext4 writes a file that was emptied and filled again to the disk at once, a new one later. */
  unlink(path);
  FILE *file = fopen(path, "wb");
  assert_non_null(file);
  assert_int_equal(fwrite(data, 1, bytes, file), bytes);
  assert_int_equal(fclose(file), 0);
}

static inline void put_text(const char *path, const char *text) {
  put_file(path, text, strlen(text));
}

/* The whole file; the caller frees it. */
static inline unsigned char *get_file(const char *path, size_t *bytes) {
  FILE *file = fopen(path, "rb");
  assert_non_null(file);
  fseek(file, 0, SEEK_END);
  *bytes = (size_t)ftell(file);
  rewind(file);
  unsigned char *data = malloc(*bytes + 1);
  assert_non_null(data);
  assert_int_equal(fread(data, 1, *bytes, file), *bytes);
  fclose(file);
  return data;
}

#endif
