#include "cli/table.h"

#include <stdarg.h>

#include "base/text.h"

enum { VALUE = 8192 }; /* longer values are cut */

void sb_table_row(FILE *out, const char *label, const char *format, ...) {
  char value[VALUE];
  if (!out) return;
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(value, sizeof value, format, arguments);
  va_end(arguments);
  sb_text_print(out, "  %-18s %s", label, value);
}

void sb_table_head(FILE *out, const char *format, ...) {
  char title[VALUE];
  if (!out) return;
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(title, sizeof title, format, arguments);
  va_end(arguments);
  fputc('\n', out);
  sb_text_print(out, "%s", title);
}
