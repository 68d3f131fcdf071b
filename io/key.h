/* The key of a checkpoint: names and texts of everything that its content depends on (model,
 * tokens, options).
 *
 * The key stands in the checkpoint's JSON file. A run compares it with its own before it resumes,
 * and refuses a checkpoint of another run by the first difference. All functions are local. */
#ifndef SB_IO_KEY_H
#define SB_IO_KEY_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

enum { SB_KEY_ENTRIES = 48, SB_KEY_TEXT = 64 };

/* How an entry is compared and told. */
typedef enum sb_key_kind {
  SB_KEY_WORDS, /* by its text */
  SB_KEY_REAL,  /* a number: 0.5 and 5e-1 are equal */
  SB_KEY_HASH   /* by its text, which tells people nothing and is not shown */
} sb_key_kind;

typedef struct sb_key {
  size_t count;
  struct {
    const char *name, *meaning; /* in the file; for people: "budget (--bits)". Not copied */
    sb_key_kind kind;
    char text[SB_KEY_TEXT];
  } entries[SB_KEY_ENTRIES];
} sb_key;

/* An entry that a run has no use for, such as an option that was not given. A key that lacks it
 * says the same. */
#define SB_KEY_NONE "none"

/* Append an entry; a key has at most SB_KEY_ENTRIES. Keys are compared in this order. */
void sb_key_add(sb_key *key, const char *name, const char *meaning, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void sb_key_add_real(sb_key *key, const char *name, const char *meaning, double value);
void sb_key_add_hash(sb_key *key, const char *name, const char *meaning, uint64_t hash);
/* The key as a JSON object, which the caller owns; NULL when memory is short. */
json_t *sb_key_json(const sb_key *key);
/* Checks that the root of the file `path` is of this format and version. SB_ERR_FORMAT "PATH: not
 * WHAT" for another format; SB_ERR_UNSUPPORTED "PATH: version .., this program reads ..; ADVICE"
 * for another version. */
sb_status sb_key_begin(const json_t *root, const char *path, const char *format, int version,
                       const char *what, const char *advice);
/* Compares the key with the object from the file `path`, in both directions: SB_ERR_FORMAT "PATH:
 * STATE with another MEANING: .. there, .. here; ADVICE" at the first difference. What one side
 * lacks is SB_KEY_NONE; of an entry that only the file has, the name stands for its meaning. */
sb_status sb_key_compare(const sb_key *key, json_t *object, const char *path, const char *state,
                         const char *advice);

#endif
