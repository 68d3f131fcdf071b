/* An output folder that appears complete or not at all.
 *
 * One process begins, before the work that the output costs: it locks OUT (io/lock.h) and gets an
 * empty folder to write into. Any number of processes write into it. When all have succeeded and
 * synced their files, the first process commits. On failure it abandons.
 *
 *   OUT is not there   the neighbour OUT.partial-HOST-RANDOM (io/unfinished.h), which takes the
 *                      name OUT in one step
 *   it is empty        OUT/.shardbits-partial-HOST-RANDOM, whose files are moved up, manifest.json
 *                      last, before it config.json and an index: OUT may be a mount point, and
 *                      keeps its owner and rights
 *   it has content     with `overwrite` the neighbour and OUT are exchanged in one step where the
 *                      system can do that; elsewhere the old one is moved aside first
 *
 * A killed run leaves the old OUT, or none, or one without manifest.json, and a partial folder that
 * nobody reads; the next run with this OUT removes that. All functions are local: rank 0 calls
 * them, the others get `partial` by broadcast. */
#ifndef SB_IO_OUTDIR_H
#define SB_IO_OUTDIR_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "io/file.h"        /* sb_copy_file */
#include "io/outdir_move.h" /* sb_outdir */

/* Checks that OUT can be written, locks it, removes what killed runs left, makes the partial
 * folder, and tries the renames that the commit will need: mount points, folders of others in a
 * sticky parent and file systems that cannot move folders are found now. An existing OUT is refused
 * unless it is empty (a file system's lost+found does not count), or `overwrite` is set and it
 * holds a manifest.json or a config.json: a mistyped OUT must not cost somebody's files. SB_ERR_IO,
 * which says what is in the way. After a failure nothing is begun. */
sb_status sb_outdir_begin(const char *path, bool overwrite, sb_outdir *out);
/* Whether `file`, links resolved, is folder `path` or lies in it. A file that does not exist yet
 * counts as made in its folder. False where there is no such folder. */
bool sb_outdir_holds(const char *path, const char *file);
/* For a run that reads or keeps `file` while it works. SB_ERR_IO when OUT holds it: it would be
 * removed with the old OUT, or be in the way of the new one. */
sb_status sb_outdir_spare(const char *path, const char *file);
/* SB_ERR_IO, with both figures, when the file system has less than `bytes` free. */
sb_status sb_outdir_require_space(const sb_outdir *out, uint64_t bytes);
/* Puts the files in OUT's place; their writers have synced them. Signals wait for that moment, and
 * from it on sb_cleanup_complete says that OUT is complete, also where this call fails afterwards:
 * the parent folder could not be synced, then the old output is kept and the message names it; or
 * the old output, which goes last, could not be removed. After a failure before that moment the old
 * OUT is in its place. Abandon is still to be called after any failure. */
sb_status sb_outdir_commit(sb_outdir *out);
/* Removes the partial folder with all that is in it, and gives the lock back. No-op when nothing is
 * begun or all is committed. */
sb_status sb_outdir_abandon(sb_outdir *out);

#endif
