/* The folder that a command writes, from before its work to its end, on all ranks.
 *
 * It begins before the work: what would stand in the way of the result is found then (io/outdir.h),
 * and the side files of the source are copied then (folders/companions.h), so the source may go
 * while the work lasts. All ranks write into `folder.partial`. Commit puts all in place; a run that
 * fails or is interrupted leaves nothing. */
#ifndef SB_FOLDERS_DESTINATION_H
#define SB_FOLDERS_DESTINATION_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "io/outdir.h"
#include "mpi/world.h"

typedef struct sb_destination {
  const sb_world *world; /* NULL: nothing is begun */
  sb_outdir folder;      /* the lock is rank 0's; path and partial are known to all */
} sb_destination;

/* Begins to write folder `out` (sb_outdir_begin), with copies of the side files of folder `source`,
 * if that is not NULL. `out` must not exist unless it is empty or `overwrite` is set. SB_ERR_IO.
 * Collective. To be ended in any case. */
sb_status sb_destination_begin(const sb_world *world, const char *out, bool overwrite,
                               const char *source, sb_destination *destination);
/* SB_ERR_IO when the file system has less than `bytes` free. Collective. */
sb_status sb_destination_require(const sb_destination *destination, uint64_t bytes);
/* From here on files are written: an interrupted run says that OUT is as it was. Local. */
void sb_destination_writes(const sb_destination *destination);
/* Puts the folder in its place (sb_outdir_commit), if `mine`, the status of this rank so far, is
 * SB_OK on every rank. All files in it are on the disk. Collective; all ranks return the same. */
sb_status sb_destination_commit(sb_destination *destination, sb_status mine);
/* Removes what is not committed. Local; does nothing where nothing is begun. */
void sb_destination_end(sb_destination *destination);

#endif
