#include "alloc/blocks.h"

#include "kernels/blockrow.h"
#include "mpi/large.h"

uint64_t sb_blocks_cost(const sb_blocks *b, size_t i, unsigned bits) {
  if (b->costs) return b->costs[i][bits];
  return 8u * (uint64_t)sb_block_bytes(b->rows[i], b->cols[i], bits, b->code_kind);
}

unsigned sb_blocks_least(const sb_blocks *b, size_t i) {
  return b->min_bits == 1 && b->max_bits > 1 && sb_blocks_cost(b, i, 2) <= sb_blocks_cost(b, i, 1)
             ? 2
             : b->min_bits;
}

sb_status sb_blocks_total(const sb_world *world, const sb_blocks *b, const uint8_t *bits,
                          uint64_t *total) {
  *total = 0;
  for (size_t i = 0; i < b->count; i++) *total += sb_blocks_cost(b, i, bits[i]);
  return sb_mpi_sum_u64(total, 1, world->comm);
}

sb_status sb_blocks_range(const sb_world *world, const sb_blocks *b, uint64_t *least,
                          uint64_t *most) {
  uint64_t both[2] = {0, 0};
  for (size_t i = 0; i < b->count; i++) {
    both[0] += sb_blocks_cost(b, i, sb_blocks_least(b, i));
    both[1] += sb_blocks_cost(b, i, b->max_bits);
  }
  SB_TRY(sb_mpi_sum_u64(both, 2, world->comm));
  *least = both[0];
  *most = both[1];
  return SB_OK;
}

sb_status sb_blocks_check_budget(uint64_t budget, uint64_t least, uint64_t most, const char *what,
                                 unsigned min_bits) {
  if (budget >= least) return SB_OK;
  return sb_fail(SB_ERR_RANGE,
                 "the budget of %llu bits is below the %llu that every %s at %u bits needs; "
                 "possible are up to %llu",
                 (unsigned long long)budget, (unsigned long long)least, what, min_bits,
                 (unsigned long long)most);
}
