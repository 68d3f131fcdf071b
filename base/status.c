#include "base/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"

#undef sb_fail

static _Thread_local char message[2048];
static _Thread_local char origin[SB_ORIGIN_SIZE];

static void store(const char *where, const char *format, va_list arguments) {
  char text[2 * sizeof message]; /* apart from `message`, which may be among the arguments */
  const size_t length = strlen(where), room = sizeof origin - 1;
  vsnprintf(text, sizeof text, format, arguments);
  /* One line that a terminal shows as it is, whatever a name taken from a file contains. */
  sb_text_escaped(message, sizeof message, text);
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
