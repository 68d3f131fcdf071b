#include "base/check.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

bool sb_flaw_found(sb_flaw *flaw, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(flaw->text, sizeof flaw->text, format, arguments);
  va_end(arguments);
  return false;
}

void sb_check_failed(const char *file, int line, const char *what, const char *why) {
  fprintf(stderr, "shardbits: %s:%d: %s: %s\n", file, line, what, why);
  abort();
}
