#include "base/status.h"

#include <stdarg.h>
#include <stdio.h>

static _Thread_local char message[2048];

sb_status sb_fail(sb_status code, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(message, sizeof message, format, arguments);
  va_end(arguments);
  return code;
}

const char *sb_message(void) {
  return message;
}

int sb_exit_code(sb_status status) {
  if (status == SB_OK) return 0;
  return status == SB_ERR_USAGE ? 2 : 1;
}
