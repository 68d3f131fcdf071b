/* All shards of an output folder, opened together and checked against its manifest. Local; after
 * opening, reads may come from several threads. */
#ifndef SB_IO_SHARDSET_H
#define SB_IO_SHARDSET_H

#include "io/manifest.h"
#include "io/shards.h"

typedef struct sb_shardset sb_shardset;

/* Reads the manifest of the folder, opens every shard it names, and checks that sizes, frame
 * counts, index checksums and the content hash are the manifest's and that every tensor has every
 * frame, once. Frames themselves are not decoded. SB_ERR_IO names a missing shard; SB_ERR_FORMAT
 * the first contradiction. O(n log n) in the number of frames. */
sb_status sb_shardset_open(const char *folder, sb_shardset **out);
/* The same with the folder's manifest, which is read and looked at already. Takes it over, and
 * empties *manifest. */
sb_status sb_shardset_open_manifest(const char *folder, sb_manifest *manifest, sb_shardset **out);
/* Sets *set to NULL; a NULL *set is fine. */
void sb_shardset_close(sb_shardset **set);

const sb_manifest *sb_shardset_manifest(const sb_shardset *set);
size_t sb_shardset_count(const sb_shardset *set);
const sb_shard_reader *sb_shardset_reader(const sb_shardset *set, size_t shard);

/* Frame `row` of tensor `tensor`, which must exist: its entry, and in *reader the shard it
 * is in. O(log n). */
const sb_shard_entry *sb_shardset_find(const sb_shardset *set, uint32_t tensor, uint32_t row,
                                       const sb_shard_reader **reader);
/* Reads it into dst; `bytes` must be its raw size. Damage is reported with the tensor's name. */
sb_status sb_shardset_read(const sb_shardset *set, uint32_t tensor, uint32_t row, void *dst,
                           size_t bytes);

#endif
