#include "io/seal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "io/atomic.h"
#include "io/frame.h"
#include "io/json.h"

enum { DIGITS = 16, MOST_BYTES = 1 << 30 };
static const char zeros[] = "0000000000000000", begins[] = "\"checksum\": \"", ends[] = "\"\n}\n";

/* Where the digits are in a text of `bytes` bytes; NULL where it does not end as a sealed one. */
static char *digits_of(char *text, size_t bytes) {
  const size_t tail = DIGITS + sizeof ends - 1, head = sizeof begins - 1;
  if (bytes < tail + head) return NULL;
  char *digits = text + bytes - tail;
  return memcmp(digits - head, begins, head) == 0 &&
                 memcmp(digits + DIGITS, ends, sizeof ends - 1) == 0
             ? digits
             : NULL;
}

/* out = the digits that a text whose own are zeros should have. */
static void seal_of(const char *text, size_t bytes, char out[DIGITS + 1]) {
  snprintf(out, DIGITS + 1, "%016" PRIx64, sb_checksum(text, bytes));
}

sb_status sb_sealed_write(const char *path, json_t *object) {
  char seal[DIGITS + 1];
  json_object_del(object, "checksum"); /* so that it becomes the last member */
  json_object_set_new(object, "checksum", json_string(zeros));
  char *text = json_dumps(object, JSON_INDENT(2));
  if (!text) return sb_fail(SB_ERR_MEMORY, "%s: not enough memory to write it", path);
  const size_t bytes = strlen(text) + 1;
  text[bytes - 1] = '\n'; /* in the place of the NUL */
  char *digits = digits_of(text, bytes);
  sb_status status = SB_OK;
  if (digits) {
    seal_of(text, bytes, seal);
    memcpy(digits, seal, DIGITS);
    status = sb_file_write_atomic(path, text, bytes);
  } else {
    status = sb_fail(SB_ERR_INTERNAL, "%s: its text does not end with its checksum", path);
  }
  free(text);
  return status;
}

sb_status sb_sealed_read(const char *path, json_t **out, bool *whole) {
  char *text = NULL, found[DIGITS], seal[DIGITS + 1];
  size_t bytes;
  *out = NULL;
  *whole = false;
  SB_TRY(sb_file_read_all(path, MOST_BYTES, &text, &bytes));
  const sb_status status = sb_json_parse(path, text, bytes, out);
  char *digits = digits_of(text, bytes);
  if (status == SB_OK && digits) {
    memcpy(found, digits, DIGITS);
    memcpy(digits, zeros, DIGITS);
    seal_of(text, bytes, seal);
    *whole = memcmp(found, seal, DIGITS) == 0;
  }
  sb_free(&text);
  return status;
}
