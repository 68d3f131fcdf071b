#include "base/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static _Thread_local char message[2048];

sb_status sb_fail(sb_status code, const char *format, ...) {
  char text[sizeof message]; /* apart from `message`, which may be among the arguments */
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  /* One line, whatever a name taken from a file contains. */
  for (char *c = text; *c; c++)
    if ((unsigned char)*c < ' ' || *c == 127) *c = '?';
  memcpy(message, text, sizeof message);
  return code;
}

const char *sb_message(void) {
  return message;
}

int sb_exit_code(sb_status status) {
  if (status == SB_OK) return 0;
  return status == SB_ERR_USAGE ? 2 : 1;
}
