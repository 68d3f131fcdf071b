/* An output folder that appears complete or not at all.
 *
 * One process begins and gets an empty neighbour OUT.partial-XXXXXXXX. Any number of processes
 * write into it. When all have succeeded and synced their files, the first process commits: the
 * neighbour takes the name OUT in one step. On failure it abandons, which removes the neighbour. A
 * killed run leaves the old OUT, or none, and perhaps a .partial- folder that nobody reads. All
 * functions are local: rank 0 calls them, the others get `partial` by broadcast. */
#ifndef SB_IO_OUTDIR_H
#define SB_IO_OUTDIR_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "io/file.h" /* sb_file_write_atomic, sb_copy_file */

typedef struct sb_outdir {
  char path[SB_PATH_MAX];    /* OUT */
  char partial[SB_PATH_MAX]; /* where to write; "" when nothing is begun */
  bool replaces;             /* OUT exists and is not empty, and `overwrite` is set */
} sb_outdir;

/* Checks that OUT can be written and makes the partial folder. An existing OUT is refused unless it
 * is an empty folder, or `overwrite` is set and it holds a manifest.json or a config.json: a
 * mistyped OUT must not cost somebody's files. SB_ERR_IO: the parent is missing or not writable, or
 * OUT is taken. */
sb_status sb_outdir_begin(const char *path, bool overwrite, sb_outdir *out);
/* For a run that reads `input` and would replace OUT. SB_ERR_IO when the input, links resolved, is
 * OUT or lies in it: it would be removed with the old OUT. An input that does not exist yet counts
 * as made in its folder. */
sb_status sb_outdir_spare(const char *path, const char *input);
/* SB_ERR_IO, with both figures, when the file system has less than `bytes` free. */
sb_status sb_outdir_require_space(const sb_outdir *out, uint64_t bytes);
/* Puts the partial folder in OUT's place; its writers have synced the files in it. With `overwrite`
 * the two folders are exchanged where the system can do that; elsewhere the old one is moved aside
 * first. The old one is then removed. After a failure the old OUT is in its place, and abandon is
 * still to be called. */
sb_status sb_outdir_commit(sb_outdir *out);
/* Removes the partial folder with all that is in it. No-op when nothing is begun
 * or all is committed. */
sb_status sb_outdir_abandon(sb_outdir *out);

#endif
