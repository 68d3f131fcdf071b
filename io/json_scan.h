/* A walk through JSON text as Python's json module reads it: NaN, Infinity, numbers of any size and
 * keys that occur twice are part of it, a byte order mark may come first, \u0000 and halves of
 * surrogate pairs (both read as U+FFFD) may occur in strings. Files that Python programs wrote
 * (config.json, indexes, headers of safetensors) are read with it; our own with io/json.h.
 *
 * Strings are decoded in place, so a walk allocates nothing. Messages name the file, `part` of it,
 * line and column: SB_ERR_FORMAT. All functions are local. */
#ifndef SB_IO_JSON_SCAN_H
#define SB_IO_JSON_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

typedef struct sb_json_scan {
  const char *path, *part; /* `part` is "" for the whole file */
  char *at, *end;          /* *end is NUL */
  char *line_begin;
  size_t line;
} sb_json_scan;

typedef enum sb_json_kind {
  SB_JSON_OBJECT,
  SB_JSON_ARRAY,
  SB_JSON_STRING,
  SB_JSON_NUMBER, /* NaN and Infinity too */
  SB_JSON_TRUE,
  SB_JSON_FALSE,
  SB_JSON_NULL,
  SB_JSON_NOTHING /* something else, or the end */
} sb_json_kind;

/* text[bytes] is a NUL. The text belongs to the walk until its last string is no longer needed. */
void sb_json_scan_begin(sb_json_scan *scan, const char *path, const char *part, char *text,
                        size_t bytes);
/* Nothing but white space is left. */
sb_status sb_json_scan_end(sb_json_scan *scan);
/* The line for JSON that is wrong at the present place: "... is not valid JSON (WHY at line ...".
 */
sb_status sb_json_scan_wrong(const sb_json_scan *scan, const char *why);

/* What comes next; white space is skipped. */
sb_json_kind sb_json_scan_kind(sb_json_scan *scan);
/* Walks an array, or an object: `open` and `close` are its brackets. Enter comes first; each Next
 * then sets *more, and *key (NULL for arrays) to the name of the member that comes. */
sb_status sb_json_scan_enter(sb_json_scan *scan, char open);
sb_status sb_json_scan_next(sb_json_scan *scan, char close, bool *first, bool *more,
                            const char **key);
/* Reads a string; *out lies in the text and ends with a NUL. */
sb_status sb_json_scan_string(sb_json_scan *scan, const char **out);
/* Reads a number. *integer: it is one within 64 bits, in *whole; else *real is its value, NaN and
 * infinities included. */
sb_status sb_json_scan_number(sb_json_scan *scan, bool *integer, int64_t *whole, double *real);
/* Reads true, false or null. */
sb_status sb_json_scan_word(sb_json_scan *scan);
/* Passes over a value of any kind. */
sb_status sb_json_scan_skip(sb_json_scan *scan);

/* Arrays and objects inside each other, at most. */
enum { SB_JSON_DEPTH = 512 };

#endif
