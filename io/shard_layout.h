/* Numbers of the shard format (docs/format.md), shared by writer and reader. */
#ifndef SB_IO_SHARD_LAYOUT_H
#define SB_IO_SHARD_LAYOUT_H

#include <stdint.h>

#include "io/bytes.h"
#include "io/shards.h"

enum {
  SB_SHARD_VERSION = 1,
  SB_SHARD_HEADER_BYTES = 32,
  SB_SHARD_ENTRY_BYTES = 48,
  SB_SHARD_FOOTER_BYTES = 32,
  SB_SHARD_SKIP_BYTES = 8 /* magic and length of a zstd skippable frame */
};
/* zstd's skippable frames: tools that do not know shards step over header and index. */
static const uint32_t sb_shard_header_skip = 0x184D2A50u, sb_shard_index_skip = 0x184D2A51u;
static const char sb_shard_magic[8] = {'S', 'B', 'S', 'H', 'A', 'R', 'D', '\n'};
static const char sb_shard_end_magic[8] = {'S', 'B', 'I', 'N', 'D', 'E', 'X', '\n'};

static inline void sb_shard_put_entry(uint8_t *at, const sb_shard_entry *entry) {
  memset(at, 0, SB_SHARD_ENTRY_BYTES);
  sb_put_u32(at, entry->tensor);
  sb_put_u32(at + 4, entry->row);
  sb_put_u64(at + 8, entry->offset);
  sb_put_u64(at + 16, entry->bytes);
  sb_put_u64(at + 24, entry->raw_bytes);
  sb_put_u64(at + 32, entry->checksum);
  at[40] = (uint8_t)entry->filter;
}

/* The filter is taken as it is; the reader checks it. */
static inline void sb_shard_get_entry(const uint8_t *at, sb_shard_entry *entry) {
  entry->tensor = sb_get_u32(at);
  entry->row = sb_get_u32(at + 4);
  entry->offset = sb_get_u64(at + 8);
  entry->bytes = sb_get_u64(at + 16);
  entry->raw_bytes = sb_get_u64(at + 24);
  entry->checksum = sb_get_u64(at + 32);
  entry->filter = (sb_filter)at[40];
}

static inline int sb_shard_compare_keys(const sb_shard_entry *a, const sb_shard_entry *b) {
  if (a->tensor != b->tensor) return a->tensor < b->tensor ? -1 : 1;
  return a->row < b->row ? -1 : a->row > b->row;
}

#endif
