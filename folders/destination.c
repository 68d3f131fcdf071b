#include "folders/destination.h"

#include <stdio.h>

#include "base/cleanup.h"
#include "base/trace.h"
#include "folders/companions.h"
#include "mpi/large.h"

sb_status sb_destination_begin(const sb_world *world, const char *out, bool overwrite,
                               const char *source, sb_destination *d) {
  sb_status status = SB_OK;
  SB_SPAN(SB_TRACE_DISK, "begin folder", SB_TRACE_NONE);
  *d = (sb_destination){.world = world, .folder = SB_NO_OUTDIR};
  if (world->rank == 0) {
    status = sb_outdir_begin(out, overwrite, &d->folder);
    if (source) SB_THEN(sb_companions_copy(source, &d->folder));
  }
  SB_AGREE(world, status);
  SB_TRY(sb_mpi_bcast(d->folder.path, sizeof d->folder.path, 0, world->comm));
  SB_TRY(sb_mpi_bcast(d->folder.partial, sizeof d->folder.partial, 0, world->comm));
  if (world->rank != 0) status = sb_cleanup_add_tree(d->folder.partial, &d->folder.slot);
  return sb_world_agree(world, status); /* rank 0 has registered it already */
}

sb_status sb_destination_require(const sb_destination *d, uint64_t bytes) {
  return sb_world_agree(d->world,
                        d->world->rank == 0 ? sb_outdir_require_space(&d->folder, bytes) : SB_OK);
}

void sb_destination_writes(const sb_destination *d) {
  char text[256];
  snprintf(text, sizeof text, "%.200s is as it was", d->folder.path);
  sb_cleanup_message(text);
}

sb_status sb_destination_commit(sb_destination *d, sb_status mine) {
  SB_AGREE(d->world, mine);
  if (d->world->rank != 0) { /* the folder is about to become another's: OUT, or the old output */
    sb_cleanup_drop(d->folder.slot);
    d->folder.slot = -1;
  }
  return sb_world_agree(d->world, d->world->rank == 0 ? sb_outdir_commit(&d->folder) : SB_OK);
}

void sb_destination_end(sb_destination *d) {
  if (!d->world) return;
  if (d->world->rank == 0)
    (void)sb_outdir_abandon(&d->folder);
  else
    sb_cleanup_drop(d->folder.slot);
  d->world = NULL;
}
