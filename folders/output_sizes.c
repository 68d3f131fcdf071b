#include "folders/output_sizes.h"

#include <string.h>

#include "base/memory.h"

enum { WIDTH_BITS = 0xf }; /* of a byte of a bit map; the rest names the kind of codes */

static sb_status count_widths(const sb_shardset *shards, uint32_t tensor, uint32_t row,
                              uint8_t *map, size_t cols, sb_output_tensor *out) {
  const sb_shard_reader *reader;
  const sb_shard_entry *entry = sb_shardset_find(shards, tensor, row, &reader);
  SB_TRY(sb_shard_read_head(reader, entry, map, cols));
  for (size_t j = 0; j < cols; j++) {
    const unsigned width = map[j] & WIDTH_BITS;
    if (width < SB_MIN_BITS || width > SB_MAX_BITS)
      return sb_fail(
          SB_ERR_FORMAT,
          "%s: tensor %u, block row %u: its bit map has a width of %u bits; the shard is "
          "damaged: copy it again, or quantize again",
          sb_shard_reader_path(reader), tensor, row, width);
    out->blocks[width]++;
  }
  return SB_OK;
}

/* Blocks in a block row; 0 for tensors that have none. A frame has a byte for each, so a shape that
 * lies takes no memory. */
static sb_status count_blocks(const sb_shardset *shards, uint32_t tensor, size_t *cols) {
  const sb_manifest *m = sb_shardset_manifest(shards);
  const sb_manifest_tensor *t = &m->tensors[tensor];
  const sb_shard_reader *reader;
  *cols = 0;
  if (t->kind != SB_TENSOR_QUANTIZED || t->frames == 0) return SB_OK;
  *cols = sb_div_up(t->shape[1], m->block_cols);
  return sb_shardset_find(shards, tensor, 0, &reader)->raw_bytes >= *cols
             ? SB_OK
             : sb_fail(SB_ERR_FORMAT, "%s: block row 0 of %s has less than a byte a block",
                       sb_shard_reader_path(reader), t->name);
}

static sb_status measure(const sb_shardset *shards, uint32_t tensor, sb_output_tensor *out) {
  const sb_manifest_tensor *t = &sb_shardset_manifest(shards)->tensors[tensor];
  uint8_t *map = NULL;
  size_t cols;
  SB_TRY(count_blocks(shards, tensor, &cols));
  sb_status status = sb_alloc(&map, cols, 1, "bit map");
  if (t->kind != SB_TENSOR_ORDER) {
    out->weights = 1;
    for (size_t d = 0; d < t->dims; d++) out->weights *= t->shape[d];
  }
  for (uint32_t row = 0; row < t->frames; row++) {
    const sb_shard_reader *reader;
    out->bytes += sb_shardset_find(shards, tensor, row, &reader)->raw_bytes;
    if (cols > 0) SB_THEN(count_widths(shards, tensor, row, map, cols, out));
  }
  sb_free(&map);
  return status;
}

sb_status sb_output_measure(const sb_shardset *shards, sb_output_tensor *out) {
  const size_t count = sb_shardset_manifest(shards)->tensor_count;
  memset(out, 0, count * sizeof *out);
  for (size_t i = 0; i < count; i++) SB_TRY(measure(shards, (uint32_t)i, &out[i]));
  return SB_OK;
}
