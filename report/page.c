#include "report/page.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"

enum { TEXT = 1000 };

void sb_page_free(sb_page *p) {
  free(p->text);
  *p = (sb_page){0};
}

/* Room for `more` bytes and a NUL. */
static bool reserve(sb_page *p, size_t more) {
  if (p->status != SB_OK) return false;
  if (p->bytes + more < p->room) return true;
  const size_t room = 2 * (p->room + more) + 4096;
  char *text = realloc(p->text, room);
  if (!text) {
    p->status = sb_fail(SB_ERR_MEMORY, "the report: not enough memory for %zu bytes", room);
    return false;
  }
  p->text = text;
  p->room = room;
  return true;
}

static void append(sb_page *p, const char *text, size_t bytes) {
  if (!reserve(p, bytes)) return;
  memcpy(p->text + p->bytes, text, bytes);
  p->bytes += bytes;
  p->text[p->bytes] = 0;
}

static void __attribute__((format(printf, 2, 0)))
add_list(sb_page *p, const char *format, va_list arguments) {
  va_list again;
  va_copy(again, arguments);
  const int bytes = vsnprintf(NULL, 0, format, arguments);
  if (bytes > 0 && reserve(p, (size_t)bytes)) {
    vsnprintf(p->text + p->bytes, (size_t)bytes + 1, format, again);
    p->bytes += (size_t)bytes;
  }
  va_end(again);
}

void sb_page_add(sb_page *p, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  add_list(p, format, arguments);
  va_end(arguments);
}

void sb_page_text(sb_page *p, const char *text) {
  static const struct {
    char from;
    const char *to;
  } entities[] = {{'<', "&lt;"}, {'>', "&gt;"}, {'&', "&amp;"}, {'"', "&quot;"}, {'\'', "&#39;"}};
  char shown[TEXT];
  sb_text_escaped(shown, sizeof shown, text);
  for (const char *c = shown; *c; c++) {
    const char *to = NULL;
    for (size_t i = 0; i < sizeof entities / sizeof *entities; i++)
      if (*c == entities[i].from) to = entities[i].to;
    append(p, to ? to : c, to ? strlen(to) : 1);
  }
}

void sb_page_element(sb_page *p, const char *tag, const char *attributes, const char *text) {
  sb_page_add(p, "<%s%s%s>", tag, attributes[0] ? " " : "", attributes);
  sb_page_text(p, text);
  sb_page_add(p, "</%s>", tag);
}

unsigned sb_page_id(sb_page *p) {
  return ++p->ids;
}

/* ---- tables ---- */

void sb_page_table(sb_page *p, const char *caption, const char *const *columns, size_t count) {
  sb_page_add(p, "<div class=\"wide\" tabindex=\"0\" role=\"region\" aria-label=\"");
  sb_page_text(p, caption);
  sb_page_add(p, "\"><table>\n");
  sb_page_element(p, "caption", "", caption);
  sb_page_add(p, "\n<thead><tr>");
  for (size_t i = 0; i < count; i++) sb_page_element(p, "th", "scope=\"col\"", columns[i]);
  sb_page_add(p, "</tr></thead>\n<tbody>\n");
}

void sb_page_row(sb_page *p, const char *head) {
  sb_page_add(p, "<tr>");
  sb_page_element(p, "th", "scope=\"row\"", head);
}

void sb_page_cell(sb_page *p, const char *format, ...) {
  char text[TEXT];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  sb_page_element(p, "td", "", text);
}

void sb_page_number(sb_page *p, double value, int digits) {
  if (isfinite(value))
    sb_page_cell(p, "%.*g", digits, value);
  else
    sb_page_add(p, "<td>&#8211;</td>");
}

void sb_page_row_end(sb_page *p) {
  sb_page_add(p, "</tr>\n");
}

void sb_page_table_end(sb_page *p) {
  sb_page_add(p, "</tbody></table></div>\n");
}
