/* Opening an output folder: all that its manifest, its shards' indexes and its frames must be. Who
 * loads a folder and who verifies it come through here, so one finds what the other refuses. */
#ifndef SB_FOLDERS_OUTPUT_OPEN_H
#define SB_FOLDERS_OUTPUT_OPEN_H

#include "base/status.h"
#include "io/shardset.h"
#include "model/model.h"

/* Reads the manifest of folder `path`, holds it to its config and the limits of sizes
 * (base/limits.h), then opens its shards and holds the size of every frame to its tensor's shape,
 * so that none takes more memory than a block row has. Fills config, arch, blocking, dtypes, orders
 * (their names, not their numbers) and tables[].coded of *model; the caller releases them, and
 * *shards, in any case. SB_ERR_IO, SB_ERR_FORMAT, SB_ERR_UNSUPPORTED name the file. Local.
 * O(frames). */
sb_status sb_output_open(const char *path, sb_model *model, sb_shardset **shards);
/* The same of shards that are open already. */
sb_status sb_output_describe(const char *path, const sb_shardset *shards, sb_model *model);

/* The kind of the grids that a manifest without `codes` names. Pure. */
sb_code_kind sb_output_grid_kind(const sb_manifest *manifest);

/* What is wrong with the content of a frame, raw[entry->raw_bytes], of a folder that was opened;
 * NULL for nothing. Block rows: widths that do not make its size, scales that are not finite.
 * Others: NaN and infinity. Orders are left to folders/stored_orders.h. A constant string. Local;
 * called by several threads. */
const char *sb_output_flaw(const sb_model *model, const sb_shard_entry *entry, const void *raw);

#endif
