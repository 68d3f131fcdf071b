/* Whether calibration tokens can teach anything: how many distinct ids they have, how much of them
 * is one id, and how many windows repeat others. */
#ifndef SB_PASS_VARIETY_H
#define SB_PASS_VARIETY_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "mpi/world.h"
#include "pass/sequences.h"

/* Of the sequences of all ranks. */
typedef struct sb_variety {
  size_t tokens, distinct;
  uint32_t commonest;   /* the id that occurs most often; the lowest of several */
  size_t of_commonest;  /* how often */
  size_t windows, same; /* windows; those that equal another, but for one of each kind */
} sb_variety;

/* All ids are below `vocab`. Collective. Memory: 8 bytes per id of the vocabulary and per window.
 * O(tokens of this rank + vocab + windows log windows). */
sb_status sb_variety_measure(const sb_world *world, const sb_sequences *sequences, size_t vocab,
                             sb_variety *out);

/* Text has, at least, as many distinct ids as the square root of its tokens; small vocabularies
 * (bytes) an eighth of theirs. Pages of text, and source code, have ten times as many. */
enum { SB_VARIETY_VOCAB_SHARE = 8, SB_VARIETY_SAME_SHARE = 8 };
/* Fewer distinct ids than that, or more than half of the tokens the same id. Pure. */
bool sb_variety_is_poor(const sb_variety *variety, size_t vocab);
/* More than one window in SB_VARIETY_SAME_SHARE repeats another. Pure. */
bool sb_variety_repeats(const sb_variety *variety);

/* Measures, and warns users of `path` by a line for each of the two. Collective. */
sb_status sb_variety_warn(const sb_world *world, const sb_sequences *sequences, size_t vocab,
                          const char *path);

#endif
