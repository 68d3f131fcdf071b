#include "cli/table.h"

#include <stdarg.h>

void sb_table_row(FILE *out, const char *label, const char *format, ...) {
  if (!out) return;
  va_list arguments;
  fprintf(out, "  %-18s ", label);
  va_start(arguments, format);
  vfprintf(out, format, arguments);
  va_end(arguments);
  fputc('\n', out);
}

void sb_table_head(FILE *out, const char *format, ...) {
  if (!out) return;
  va_list arguments;
  fputc('\n', out);
  va_start(arguments, format);
  vfprintf(out, format, arguments);
  va_end(arguments);
  fputc('\n', out);
}
