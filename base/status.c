#include "base/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

#undef sb_fail

/* Bytes of a message, of its beginning and of its end where it is longer, and the most that
 * escaping makes of one byte. */
enum { LONGEST = 500, HEAD = 250, TAIL = 240, ESCAPE = 6 };

static _Thread_local char message[HEAD + 1 + ESCAPE * TAIL];
static _Thread_local char origin[SB_ORIGIN_SIZE];

/* One line that a terminal shows as it is, whatever a name taken from a file contains. Of a long
 * one the beginning, which says where, and the end, which says what to do, stay. */
static void show(const char *text) {
  char shown[ESCAPE * LONGEST + 1];
  const size_t length = strlen(text);
  if (length <= LONGEST && strlen(sb_text_escaped(shown, sizeof shown, text)) <= LONGEST) {
    strcpy(message, shown);
    return;
  }
  const char *tail = text + (length > TAIL ? length - TAIL : 0);
  while (((unsigned char)*tail & 0xc0) == 0x80) tail++; /* the rest of a character of UTF-8 */
  sb_text_escaped(message, HEAD + 1, text);
  const size_t head = strlen(message);
  sb_text_escaped(message + head, sizeof message - head, tail);
}

static void store(const char *where, const char *format, va_list arguments) {
  char some[4096], *all = NULL; /* apart from `message`, which may be among the arguments */
  const size_t length = strlen(where), room = sizeof origin - 1;
  va_list again;
  va_copy(again, arguments);
  const int needs = vsnprintf(some, sizeof some, format, arguments);
  if (needs >= (int)sizeof some && (all = malloc((size_t)needs + 1)))
    vsnprintf(all, (size_t)needs + 1, format, again);
  va_end(again);
  show(all ? all : some);
  free(all);
  if (length > room) where += length - room;
  memmove(origin, where, strlen(where) + 1); /* it may be `origin` itself */
}

sb_status sb_fail(sb_status code, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  store("", format, arguments);
  va_end(arguments);
  return code;
}

sb_status sb_fail_from(const char *where, sb_status code, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  store(where, format, arguments);
  va_end(arguments);
  return code;
}

const char *sb_message(void) {
  return message;
}

const char *sb_origin(void) {
  return origin;
}

char *sb_origin_text(char *text, unsigned long size) {
  if (origin[0])
    snprintf(text, size, " [%s]", origin);
  else
    text[0] = 0;
  return text;
}

int sb_exit_code(sb_status status) {
  if (status == SB_OK) return 0;
  return status == SB_ERR_USAGE ? 2 : 1;
}
