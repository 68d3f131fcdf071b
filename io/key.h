/* What a saved state depends on, as names and texts: the way it stands in a JSON file, and how a
 * state that belongs to something else is refused by the name of what differs. All functions are
 * local. */
#ifndef SB_IO_KEY_H
#define SB_IO_KEY_H

#include <jansson.h>
#include <stddef.h>

#include "base/status.h"

enum { SB_KEY_ENTRIES = 20, SB_KEY_TEXT = 64 };

typedef struct sb_key {
  size_t count;
  struct {
    const char *name, *meaning; /* in the file; for people: "budget (--bits)". Not copied */
    char text[SB_KEY_TEXT];
  } entries[SB_KEY_ENTRIES];
} sb_key;

/* Adds an entry, in the order in which differences are told; at most SB_KEY_ENTRIES. */
void sb_key_add(sb_key *key, const char *name, const char *meaning, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* An object of names and texts; NULL without memory. The caller owns it. */
json_t *sb_key_json(const sb_key *key);
/* Whether the file `path` is such a state at all: SB_ERR_FORMAT "PATH: not WHAT" for another
 * `format`, SB_ERR_UNSUPPORTED "PATH: version .., this program reads ..; ADVICE" for another
 * version.
 */
sb_status sb_key_begin(const json_t *root, const char *path, const char *format, int version,
                       const char *what, const char *advice);
/* SB_ERR_FORMAT unless the object in the file `path` says the same: "PATH: STATE with another
 * MEANING: .. there, .. here; ADVICE". */
sb_status sb_key_compare(const sb_key *key, const json_t *object, const char *path,
                         const char *state, const char *advice);

#endif
