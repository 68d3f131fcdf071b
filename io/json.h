/* JSON files, read with errors that a user can act on. Local; built on jansson,
 * whose values are reference-counted. */
#ifndef SB_IO_JSON_H
#define SB_IO_JSON_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

/* Parses `text` as one JSON object without duplicated keys: files of our own. Those of Python
 * programs are read by io/json_python.h. `path` names it in messages: SB_ERR_FORMAT with line and
 * column. The caller releases *out with json_decref. */
sb_status sb_json_parse(const char *path, const char *text, size_t bytes, json_t **out);
/* SB_OK for an object; anything else is released, *value = NULL, and SB_ERR_FORMAT. */
sb_status sb_json_require_object(const char *path, json_t **value);
/* How the text of a file becomes an object; text[bytes] is a NUL, and may be overwritten. */
typedef sb_status sb_json_parser(const char *path, char *text, size_t bytes, json_t **out);
/* A whole file of at most 1 GiB, by that parser. */
sb_status sb_json_read_by(sb_json_parser *parse, const char *path, json_t **out);
/* By sb_json_parse. */
sb_status sb_json_read(const char *path, json_t **out);
/* Writes a JSON value as indented text, keys in the order in which they were set. The file is
 * replaced as a whole or not at all. */
sb_status sb_json_write(const char *path, const json_t *value);

/* Members that must exist. SB_ERR_FORMAT names `path`, `where` (may be "") and the key of a member
 * that is missing or of another type. Integers must lie in [0, max]. Strings and objects are
 * borrowed from `object`. */
sb_status sb_json_get_u64(const char *path, const char *where, const json_t *object,
                          const char *key, uint64_t max, uint64_t *out);
sb_status sb_json_get_real(const char *path, const char *where, const json_t *object,
                           const char *key, double *out);
sb_status sb_json_get_string(const char *path, const char *where, const json_t *object,
                             const char *key, const char **out);
sb_status sb_json_get_array(const char *path, const char *where, const json_t *object,
                            const char *key, json_t **out);
sb_status sb_json_get_object(const char *path, const char *where, const json_t *object,
                             const char *key, json_t **out);

#endif
