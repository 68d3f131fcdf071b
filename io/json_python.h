/* JSON of Python programs as jansson's values (config.json). Local.
 *
 * What jansson cannot hold is an *oddity*: NaN and infinities (numbers beyond the range of double
 * too), and a key that occurs twice with different values. An oddity is a value of its own that no
 * accessor of another type takes, so it is refused where the key counts and harmless elsewhere. */
#ifndef SB_IO_JSON_PYTHON_H
#define SB_IO_JSON_PYTHON_H

#include <jansson.h>

#include "base/status.h"

/* Parses `text`, which is overwritten, as one object. text[bytes] is a NUL. Integers beyond 64 bits
 * become reals. SB_ERR_FORMAT names path, line and column. The caller releases *out with
 * json_decref. */
sb_status sb_json_python_parse(const char *path, char *text, size_t bytes, json_t **out);
/* The same for a whole file of at most 1 GiB. */
sb_status sb_json_python_read(const char *path, json_t **out);

/* What an oddity is, for messages: "NaN", "Infinity", "given twice, with different values"; NULL
 * for any other value. */
const char *sb_json_python_oddity(const json_t *value);
/* Takes all oddities out of an object, at any depth, so that it can be written. Of a key that was
 * given twice the last value stays, as in Python; other oddities go together with their key. */
void sb_json_python_settle(json_t *value);

#endif
