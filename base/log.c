#include "base/log.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/text.h"
#include "base/watch.h"

enum { LINE = 8192 }; /* longer lines are cut */

static struct {
  FILE *stream;
  bool speaks, debugs;
  bool transient; /* the cursor stands on a line that is to be wiped */
  int rank;
  double begun;
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

/* ---- what SHARDBITS_LOG asks for ---- */

static sb_status bad_level(const char *text) {
  return sb_fail(
      SB_ERR_USAGE,
      "SHARDBITS_LOG=%s: expected info, debug, debug:all or debug:RANKS with RANKS as in "
      "0,4-7",
      text);
}

/* A rank at *cursor, which moves behind it. False when no number is there. */
static bool take_rank(const char **cursor, long *rank) {
  char *end;
  if (!isdigit((unsigned char)**cursor)) return false;
  errno = 0;
  *rank = strtol(*cursor, &end, 10);
  *cursor = end;
  return errno == 0;
}

static sb_status parse_ranks(const char *text, const char *list, int rank, int ranks, bool *in) {
  for (const char *c = list;; c++) {
    long first, last;
    if (!take_rank(&c, &first)) return bad_level(text);
    last = first;
    if (*c == '-' && (c++, !take_rank(&c, &last))) return bad_level(text);
    if (first > last || last >= ranks)
      return sb_fail(SB_ERR_USAGE,
                     "SHARDBITS_LOG=%s: this run has ranks 0 to %d, and ranges ascend", text,
                     ranks - 1);
    if (first <= rank && rank <= last) *in = true;
    if (!*c) return SB_OK;
    if (*c != ',') return bad_level(text);
  }
}

sb_status sb_log_parse(const char *text, int rank, int ranks, bool *debugs) {
  static const char debug[] = "debug";
  const size_t length = sizeof debug - 1;
  *debugs = false;
  if (!text || !*text || strcmp(text, "info") == 0) return SB_OK;
  if (strncmp(text, debug, length) != 0) return bad_level(text);
  if (text[length] == 0) {
    *debugs = rank == 0;
    return SB_OK;
  }
  if (text[length] != ':') return bad_level(text);
  if (strcmp(text + length + 1, "all") == 0) {
    *debugs = true;
    return SB_OK;
  }
  return parse_ranks(text, text + length + 1, rank, ranks, debugs);
}

void sb_log_set_debug(bool on, int rank) {
  the_log.debugs = on;
  the_log.rank = rank;
  the_log.begun = sb_now();
}

bool sb_log_debugs(void) {
  return the_log.debugs && the_log.stream;
}

/* ---- lines ---- */

void sb_log_transient(const char *line) {
  if (!the_log.speaks) return;
  if (the_log.transient) fputs("\r\033[K", the_log.stream);
  fputs(line, the_log.stream);
  fflush(the_log.stream);
  the_log.transient = line[0] != 0;
}

/* A watcher hears of warnings where the log is silent, too. */
static void watch(const char *text) {
  static const char warning[] = "warning: ";
  if (strncmp(text, warning, sizeof warning - 1) == 0) sb_watch_warning(text + sizeof warning - 1);
}

void sb_log_line(const char *format, ...) {
  if (!the_log.speaks && !sb_watch_is_on()) return;
  char text[LINE];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  watch(text);
  if (!the_log.speaks) return;
  sb_log_transient("");
  sb_text_print(the_log.stream, "%s", text);
  fflush(the_log.stream);
}

void sb_log_debug(const char *room, const char *format, ...) {
  if (!sb_log_debugs()) return;
  char text[1024];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  sb_log_transient("");
  /* in one piece: other ranks write to the same terminal */
  sb_text_print(the_log.stream, "[%d %.3f] %s: %s", the_log.rank, sb_now() - the_log.begun, room,
                text);
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
