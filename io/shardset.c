#include "io/shardset.h"

#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/memory.h"
#include "io/file.h"

typedef struct place {
  const sb_shard_entry *entry;
  uint32_t shard;
} place;

struct sb_shardset {
  sb_manifest manifest;
  sb_shard_reader **readers;
  size_t reader_count;
  size_t *first; /* [tensors + 1] place of each tensor's frame 0 */
  place *places; /* by (tensor, row) */
};

static sb_status open_shard(sb_shardset *set, const char *folder, const sb_manifest_shard *shard) {
  char path[SB_PATH_MAX];
  SB_TRY(sb_path_join(path, folder, shard->file));
  if (access(path, F_OK) != 0)
    return sb_fail(
        SB_ERR_IO,
        "%s: is missing; the manifest names it among %zu shards: copy it here, or quantize again",
        path, set->manifest.shard_count);
  const sb_shard_expected expected = {shard->bytes, shard->frames, shard->index_checksum};
  SB_TRY(sb_shard_reader_open_expected(path, &expected, &set->readers[set->reader_count]));
  set->reader_count++;
  return SB_OK;
}

/* Each frame of the manifest's tensors must be there once; their number is known to be right. */
static sb_status place_frames(sb_shardset *set) {
  const sb_manifest *m = &set->manifest;
  size_t total = 0;
  SB_TRY(sb_alloc(&set->first, m->tensor_count + 1, sizeof *set->first, "frame map"));
  for (size_t i = 0; i < m->tensor_count; i++) {
    set->first[i] = total;
    total += m->tensors[i].frames;
  }
  set->first[m->tensor_count] = total;
  SB_TRY(sb_alloc(&set->places, total, sizeof *set->places, "frame map"));
  for (size_t s = 0; s < set->reader_count; s++) {
    const sb_shard_reader *r = set->readers[s];
    for (size_t i = 0; i < sb_shard_reader_count(r); i++) {
      const sb_shard_entry *e = sb_shard_reader_at(r, i);
      if (e->tensor >= m->tensor_count || e->row >= m->tensors[e->tensor].frames)
        return sb_fail(SB_ERR_FORMAT,
                       "%s: holds tensor %u, block row %u, which the manifest does not have",
                       sb_shard_reader_path(r), e->tensor, e->row);
      place *p = &set->places[set->first[e->tensor] + e->row];
      if (p->entry)
        return sb_fail(SB_ERR_FORMAT, "%s: holds tensor '%s', block row %u, which %s holds too",
                       sb_shard_reader_path(r), m->tensors[e->tensor].name, e->row,
                       sb_shard_reader_path(set->readers[p->shard]));
      *p = (place){.entry = e, .shard = (uint32_t)s};
    }
  }
  return SB_OK;
}

static sb_status open_all(sb_shardset *set, const char *folder) {
  uint64_t hash;
  SB_TRY(sb_alloc(&set->readers, set->manifest.shard_count, sizeof *set->readers, "shard list"));
  for (size_t i = 0; i < set->manifest.shard_count; i++)
    SB_TRY(open_shard(set, folder, &set->manifest.shards[i]));
  SB_TRY(place_frames(set));
  SB_TRY(sb_shard_content_hash(set->readers, set->reader_count, &hash));
  if (hash != set->manifest.content_hash)
    return sb_fail(SB_ERR_FORMAT,
                   "%s: the content hash of its shards is %016" PRIx64
                   ", the manifest says %016" PRIx64,
                   folder, hash, set->manifest.content_hash);
  return SB_OK;
}

sb_status sb_shardset_open(const char *folder, sb_shardset **out) {
  sb_manifest manifest = {0};
  *out = NULL;
  SB_TRY(sb_manifest_read(folder, &manifest));
  return sb_shardset_open_manifest(folder, &manifest, out);
}

sb_status sb_shardset_open_manifest(const char *folder, sb_manifest *manifest, sb_shardset **out) {
  sb_status status = sb_alloc(out, 1, sizeof **out, "shard set");
  if (status != SB_OK) {
    sb_manifest_free(manifest);
    return status;
  }
  (*out)->manifest = *manifest;
  *manifest = (sb_manifest){0};
  status = open_all(*out, folder);
  if (status != SB_OK) sb_shardset_close(out);
  return status;
}

void sb_shardset_close(sb_shardset **set) {
  sb_shardset *s = *set;
  if (!s) return;
  for (size_t i = 0; i < s->reader_count; i++) sb_shard_reader_close(&s->readers[i]);
  sb_free(&s->readers);
  sb_free(&s->first);
  sb_free(&s->places);
  sb_manifest_free(&s->manifest);
  sb_free(set);
}

const sb_manifest *sb_shardset_manifest(const sb_shardset *set) {
  return &set->manifest;
}

size_t sb_shardset_count(const sb_shardset *set) {
  return set->reader_count;
}

const sb_shard_reader *sb_shardset_reader(const sb_shardset *set, size_t shard) {
  return set->readers[shard];
}

const sb_shard_entry *sb_shardset_find(const sb_shardset *set, uint32_t tensor, uint32_t row,
                                       const sb_shard_reader **reader) {
  const place *p = &set->places[set->first[tensor] + row];
  *reader = set->readers[p->shard];
  return p->entry;
}

sb_status sb_shardset_read(const sb_shardset *set, uint32_t tensor, uint32_t row, void *dst,
                           size_t bytes) {
  const sb_shard_reader *reader;
  const sb_shard_entry *entry = sb_shardset_find(set, tensor, row, &reader);
  sb_status status = sb_shard_read_frame(reader, entry, dst, bytes);
  if (status == SB_OK) return SB_OK;
  return sb_fail(status, "%s (tensor '%s')", sb_message(), set->manifest.tensors[tensor].name);
}
