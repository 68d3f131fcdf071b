#include "base/log.h"

#include <stdarg.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"

static struct {
  FILE *stream;
  bool speaks;
  bool transient; /* the cursor stands on a line that is to be wiped */
} the_log;

void sb_log_open_to(FILE *stream, bool speaks) {
  the_log.stream = stream;
  the_log.speaks = speaks;
  the_log.transient = false;
}

void sb_log_open(bool speaks) {
  sb_log_open_to(stderr, speaks);
}

bool sb_log_speaks(void) {
  return the_log.speaks;
}

FILE *sb_log_stream(void) {
  return the_log.stream;
}

void sb_log_transient(const char *line) {
  if (!the_log.speaks) return;
  if (the_log.transient) fputs("\r\033[K", the_log.stream);
  fputs(line, the_log.stream);
  fflush(the_log.stream);
  the_log.transient = line[0] != 0;
}

void sb_log_line(const char *format, ...) {
  if (!the_log.speaks) return;
  sb_log_transient("");
  va_list arguments;
  va_start(arguments, format);
  vfprintf(the_log.stream, format, arguments);
  va_end(arguments);
  fputc('\n', the_log.stream);
  fflush(the_log.stream);
}

void sb_log_phase(const char *name, double seconds, double flops, const char *detail, ...) {
  if (!the_log.speaks) return;
  char time[SB_TEXT_SIZE], memory[SB_TEXT_SIZE], rate[SB_TEXT_SIZE] = "", text[512];
  va_list arguments;
  va_start(arguments, detail);
  vsnprintf(text, sizeof text, detail, arguments);
  va_end(arguments);
  if (flops > 0.0 && seconds > 0.0)
    snprintf(rate, sizeof rate, "%.4g GFLOP/s", flops / seconds * 1e-9);
  sb_log_line("%-14s %12s %15s %10s%s%s", name, sb_text_seconds(time, sizeof time, seconds), rate,
              sb_text_bytes(memory, sizeof memory, (double)sb_peak_resident()), text[0] ? "  " : "",
              text);
}
