/* Loading and checking an output folder: manifest.json and its shards (docs/format.md). */
#ifndef SB_FOLDERS_OUTPUT_LOAD_H
#define SB_FOLDERS_OUTPUT_LOAD_H

#include <stdbool.h>

#include "base/status.h"
#include "base/ticker.h"
#include "folders/output_write.h"
#include "model/model.h"
#include "mpi/world.h"

/* True if the folder has a manifest.json. Local. */
bool sb_output_is(const char *folder);

/* *out = the model in an output folder, written by any number of ranks: coding SB_CODING_CODES,
 * bits as written. Every frame is checked against its checksum. SB_ERR_IO and SB_ERR_FORMAT name
 * the first file that is missing or damaged. Collective; all ranks fail together. */
sb_status sb_output_load(const sb_world *world, const char *folder, sb_model **out);

/* Checks an output folder without loading it: the manifest against its config, every shard against
 * the manifest, every frame against its checksum and its content against what it stands for, that
 * the side files can be read. What sb_output_load or an export would refuse, is refused. Shards are
 * dealt to the ranks; `ticker` is told the share of this rank's bytes. *stats gets the manifest's
 * figures: effective bits, code bits, stored bytes, frames, content hash. Errors as sb_output_load.
 * Collective. Memory O(frames). */
sb_status sb_output_verify(const sb_world *world, const char *folder, sb_ticker ticker,
                           sb_output_stats *stats);

#endif
