/* Limits of the sizes that come from outside: options, config.json, manifests, allocation files.
 *
 * One table for all, so a file is held to what an option is, and arithmetic on sizes that passed
 * cannot overflow 64 bits: rows and columns of a matrix are below 2^25 each, and there are at most
 * 4096 layers. All functions are pure. */
#ifndef SB_BASE_LIMITS_H
#define SB_BASE_LIMITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

/* A size must lie in [least, most]. */
typedef struct sb_limit {
  uint64_t least, most;
} sb_limit;

/* blocks; what has block rows and columns counts them in 16 bits (alloc/blocks.h) */
extern const sb_limit sb_limit_block; /* rows of a block; columns, which are its groups' weights */
extern const sb_limit sb_limit_bits;  /* of a code */
/* budgets: what blocks take for a weight. A block of one weight takes 48 bits, the map of a block
 * row 16 bytes. */
extern const double sb_limit_least_budget, sb_limit_most_budget;
/* networks */
extern const sb_limit sb_limit_vocab, sb_limit_hidden, sb_limit_intermediate, sb_limit_layers,
    sb_limit_heads, sb_limit_head_dim, sb_limit_positions;

static inline bool sb_limit_allows(const sb_limit *limit, uint64_t value) {
  return value >= limit->least && value <= limit->most;
}

/* SB_ERR_FORMAT "PATH: blocks of RxC; ..." unless both are within sb_limit_block. */
sb_status sb_limit_check_block(const char *path, uint64_t rows, uint64_t cols);

#endif
