#include "base/limits.h"

#include <inttypes.h>

const sb_limit sb_limit_block = {1, 1024};
const sb_limit sb_limit_bits = {1, 8};
const double sb_limit_least_budget = 0.5, sb_limit_most_budget = 256;

const sb_limit sb_limit_vocab = {2, (uint64_t)1 << 24};
const sb_limit sb_limit_hidden = {1, (uint64_t)1 << 20};
const sb_limit sb_limit_intermediate = {1, (uint64_t)1 << 22};
const sb_limit sb_limit_layers = {1, 4096};
const sb_limit sb_limit_heads = {1, (uint64_t)1 << 14};
const sb_limit sb_limit_head_dim = {2, 1024};
const sb_limit sb_limit_positions = {1, (uint64_t)1 << 31};

sb_status sb_limit_check_block(const char *path, uint64_t rows, uint64_t cols) {
  const sb_limit *limit = &sb_limit_block;
  if (sb_limit_allows(limit, rows) && sb_limit_allows(limit, cols)) return SB_OK;
  return sb_fail(SB_ERR_FORMAT,
                 "%s: blocks of %" PRIu64 "x%" PRIu64 "; rows and columns of a block are %" PRIu64
                 " to %" PRIu64 ", as with --block: quantize again",
                 path, rows, cols, limit->least, limit->most);
}
