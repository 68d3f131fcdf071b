/* Random bits that are a function of seed, name and index alone: the same for any number of ranks
 * and threads, in any order. Local, O(1). */
#ifndef SB_FOLDERS_RANDOM_NUMBERS_H
#define SB_FOLDERS_RANDOM_NUMBERS_H

#include <stdint.h>
#include <string.h>
#include <xxhash.h>

#include "base/random.h"

static inline uint64_t sb_random_key(uint64_t seed, const char *name) {
  return XXH3_64bits_withSeed(name, strlen(name), seed);
}

/* Number `index` of the sequence that `key` has: 64 bits, each index its own. */
static inline uint64_t sb_random_number(uint64_t key, uint64_t index) {
  return sb_mix64(key + (index + 1) * UINT64_C(0x9E3779B97F4A7C15));
}

#endif
