/* An HTML page under construction: a text that grows. The first failure to get memory is kept, what
 * follows does nothing, and sb_page_status says it at the end. Local. */
#ifndef SB_REPORT_PAGE_H
#define SB_REPORT_PAGE_H

#include <stddef.h>

#include "base/status.h"

typedef struct sb_page {
  char *text; /* text[bytes] is a NUL */
  size_t bytes, room;
  unsigned ids; /* numbers of elements given out (sb_page_id) */
  sb_status status;
} sb_page;

/* A zero-initialised page is empty. */
void sb_page_free(sb_page *page);

/* Appends markup: of this program's own, and numbers. */
void sb_page_add(sb_page *page, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Appends text of whatever origin, which the reader sees as it is: < > & " ' become entities,
 * control characters and what is not UTF-8 are written out (sb_text_escaped). At most 1000 bytes of
 * it; "..." stands for the rest. */
void sb_page_text(sb_page *page, const char *text);
/* "<tag>text</tag>" of such a text; `attributes` (may be "") go behind the tag's name. */
void sb_page_element(sb_page *page, const char *tag, const char *attributes, const char *text);
/* A number for the id of an element: 1, 2, ... */
unsigned sb_page_id(sb_page *page);

/* ---- tables: every figure has one behind it ---- */

/* "<table>" in a box that scrolls sideways, with a caption and a head. `columns` are names of this
 * program's or text; the first column holds the heads of rows. */
void sb_page_table(sb_page *page, const char *caption, const char *const *columns, size_t count);
void sb_page_row(sb_page *page, const char *head);
void sb_page_cell(sb_page *page, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* A cell with a number in `digits` significant digits, a dash for NaN. */
void sb_page_number(sb_page *page, double value, int digits);
void sb_page_row_end(sb_page *page);
void sb_page_table_end(sb_page *page);

#endif
