/* What the tests of io share: a scratch folder, files from bytes, and checks of messages. */
#ifndef SB_TESTS_IO_TEST_H
#define SB_TESTS_IO_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/memory.h"
#include "base/status.h"

/* One scratch folder a program, removed at the end. */
static char scratch[256];

static int make_scratch(void **state) {
  (void)state;
  const char *base = getenv("TMPDIR");
  snprintf(scratch, sizeof scratch, "%s/sb-io-XXXXXX", base && *base ? base : "/tmp");
  return mkdtemp(scratch) ? 0 : -1;
}

static int drop_scratch(void **state) {
  (void)state;
  char command[300];
  snprintf(command, sizeof command, "rm -rf '%s'", scratch);
  return system(command);
}

/* Path of `name` in the scratch folder; a few results stay valid at a time. */
static inline const char *at(const char *name) {
  static char paths[8][512];
  static int next;
  char *path = paths[next++ % 8];
  snprintf(path, sizeof paths[0], "%s/%s", scratch, name);
  return path;
}

static inline void put_file(const char *path, const void *data, size_t bytes) {
  unlink(path); /* ext4 brings a file that was emptied and rewritten to the disk at once; a new one
                   it does not */
  FILE *file = fopen(path, "wb");
  assert_non_null(file);
  assert_int_equal(fwrite(data, 1, bytes, file), bytes);
  assert_int_equal(fclose(file), 0);
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

/* The status is the expected one and the message is one line with all the given parts (NULL ends
 * the list).
 */
static inline void expect_failure(sb_status got, sb_status wanted, ...) {
  va_list parts;
  const char *part;
  if (got != wanted)
    fail_msg("status %d where %d was expected; message: %s", got, wanted, sb_message());
  if (strchr(sb_message(), '\n')) fail_msg("more than one line: %s", sb_message());
  va_start(parts, wanted);
  while ((part = va_arg(parts, const char *)))
    if (!strstr(sb_message(), part)) fail_msg("'%s' is not in: %s", part, sb_message());
  va_end(parts);
}

#define assert_ok(call)                                                                            \
  do {                                                                                             \
    if ((call) != SB_OK) fail_msg("%s: %s", #call, sb_message());                                  \
  } while (0)

/* Reproducible bytes: a plain linear congruential generator. */
static inline void fill_random(void *dst, size_t bytes, uint64_t seed) {
  uint8_t *out = dst;
  for (size_t i = 0; i < bytes; i++) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    out[i] = (uint8_t)(seed >> 56);
  }
}

#endif
