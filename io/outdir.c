#include "io/outdir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "io/outdir_move.h"
#include "io/space.h"
#include "io/unfinished.h"

enum { SUFFIX = 64 }; /* bytes kept free behind OUT, for the names beside it and in it */

/* path without trailing slashes, links resolved where it exists. */
static sb_status normalise(const char *path, char *out) {
  size_t length = strlen(path);
  while (length > 1 && path[length - 1] == '/') length--;
  if (length == 0) return sb_fail(SB_ERR_USAGE, "the output folder's name is empty");
  if (length + SUFFIX >= SB_PATH_MAX) return sb_fail(SB_ERR_IO, "%s: the path is too long", path);
  memcpy(out, path, length);
  out[length] = '\0';
  char resolved[PATH_MAX];
  if (realpath(out, resolved) && strlen(resolved) + SUFFIX < SB_PATH_MAX) strcpy(out, resolved);
  return SB_OK;
}

static sb_status check_target(sb_outdir *out, bool overwrite) {
  struct stat info;
  if (lstat(out->path, &info) != 0) {
    if (errno == ENOENT) return SB_OK;
    return sb_fail(SB_ERR_IO, "%s: cannot be examined: %s", out->path, strerror(errno));
  }
  if (!S_ISDIR(info.st_mode))
    return sb_fail(SB_ERR_IO, "%s: exists and is not a folder; choose another output folder",
                   out->path);
  size_t entries = 0;
  bool ours = false;
  SB_TRY(sb_outdir_look(out->path, &entries, &ours));
  if (entries == 0) {
    out->inside = true;
    return SB_OK;
  }
  if (!overwrite)
    return sb_fail(SB_ERR_IO,
                   "%s: exists and is not empty; choose another output folder or pass --overwrite",
                   out->path);
  if (!ours)
    return sb_fail(
        SB_ERR_IO,
        "%s: has neither a manifest.json nor a config.json, so --overwrite will not remove it; "
        "remove it yourself",
        out->path);
  out->replaces = true;
  return SB_OK;
}

/* The folder that will hold the partial one can be written. */
static sb_status check_holder(const sb_outdir *out, const char *holder) {
  struct stat info;
  if (stat(holder, &info) != 0)
    return sb_fail(SB_ERR_IO,
                   "%s: the folder %s that should hold it is not there (%s); make it first",
                   out->path, holder, strerror(errno));
  if (!S_ISDIR(info.st_mode))
    return sb_fail(SB_ERR_IO, "%s: %s, that should hold it, is not a folder", out->path, holder);
  if (faccessat(AT_FDCWD, holder, W_OK | X_OK, AT_EACCESS) == 0) return SB_OK;
  if (out->inside)
    return sb_fail(SB_ERR_IO, "%s: is there, empty and not writable (%s)", out->path,
                   strerror(errno));
  return sb_fail(SB_ERR_IO, "%s: the folder %s is not writable (%s)", out->path, holder,
                 strerror(errno));
}

static sb_status take_lock(sb_outdir *out) {
  char path[SB_PATH_MAX + SUFFIX];
  snprintf(path, sizeof path, out->inside ? "%s/" SB_OUTDIR_HIDDEN "lock" : "%s.lock", out->path);
  return sb_lock_take(path, out->path, &out->lock);
}

/* A new folder beside OUT, or in it. Registered before it is made, so that no signal leaves it. */
static sb_status make_partial(sb_outdir *out) {
  char start[SB_PATH_MAX + SUFFIX];
  snprintf(start, sizeof start, "%s%s", out->path,
           out->inside ? "/" SB_OUTDIR_HIDDEN "partial-" : ".partial-");
  for (int attempt = 0; attempt < 16; attempt++) {
    SB_TRY(sb_unfinished_name(start, out->partial));
    SB_TRY(sb_cleanup_add_tree(out->partial, &out->slot));
    if (mkdir(out->partial, 0777) == 0) return SB_OK;
    sb_cleanup_drop(out->slot);
    if (errno != EEXIST) break;
  }
  sb_status status = sb_fail(SB_ERR_IO, "%s: cannot be created: %s", out->partial, strerror(errno));
  out->partial[0] = '\0';
  return status;
}

sb_status sb_outdir_begin(const char *path, bool overwrite, sb_outdir *out) {
  char parent[SB_PATH_MAX];
  *out = SB_NO_OUTDIR;
  SB_TRY(normalise(path, out->path));
  SB_TRY(check_target(out, overwrite));
  sb_path_parent(parent, out->path);
  SB_TRY(check_holder(out, out->inside ? out->path : parent));
  sb_status status = take_lock(out);
  SB_THEN(sb_outdir_clear(out));
  SB_THEN(make_partial(out));
  SB_THEN(sb_outdir_try_moves(out));
  if (status != SB_OK) sb_outdir_abandon(out);
  return status;
}

bool sb_outdir_holds(const char *path, const char *file) {
  char out[PATH_MAX], in[PATH_MAX], parent[SB_PATH_MAX];
  if (!realpath(path, out) || strlen(file) >= SB_PATH_MAX) return false;
  sb_path_parent(parent, file);
  return (realpath(file, in) || realpath(parent, in)) && sb_path_is_in(in, out);
}

sb_status sb_outdir_spare(const char *path, const char *file) {
  if (!sb_outdir_holds(path, file)) return SB_OK;
  return sb_fail(
      SB_ERR_IO,
      "%s: replacing it would remove %s, which this run needs; choose another output folder", path,
      file);
}

sb_status sb_outdir_require_space(const sb_outdir *out, uint64_t bytes) {
  return sb_space_require(out->partial, out->path, bytes);
}

/* Nothing is partial any more, or not to be removed. */
static void forget(sb_outdir *out) {
  sb_cleanup_drop(out->slot);
  out->slot = -1;
  out->partial[0] = '\0';
}

/* What may still fail when the new output is in its place and `synced` with its parent, or not. The
 * old one, which out->partial names, goes last. */
static sb_status settle(sb_outdir *out, sb_status synced) {
  char old[SB_PATH_MAX];
  sb_status status = synced;
  if (status == SB_OK && out->replaces) {
    if (sb_remove_tree(out->partial) != SB_OK)
      status = sb_fail(SB_ERR_IO, "%s; it has the old output: remove it yourself", sb_message());
  } else if (out->replaces) { /* under a name that no later run clears */
    snprintf(old, sizeof old, "%.*s.old-%.8s", SB_PATH_MAX - SUFFIX, out->path,
             out->partial + strlen(out->partial) - 8);
    const bool renamed = rename(out->partial, old) == 0;
    status = sb_fail(status, "%s; the old output is kept in %s", sb_message(),
                     renamed ? old : out->partial);
  }
  forget(out);
  return status;
}

/* Brings the place on the disk. From then on the old output, if there is one, is what is
 * unfinished. */
static sb_status sync_place(sb_outdir *out) {
  char parent[SB_PATH_MAX];
  sb_cleanup_drop(out->slot);
  out->slot = -1;
  sb_path_parent(parent, out->path);
  SB_TRY(sb_folder_sync(out->inside ? out->path : parent));
  return out->replaces ? sb_cleanup_add_tree(out->partial, &out->slot) : SB_OK;
}

sb_status sb_outdir_commit(sb_outdir *out) {
  if (!out->partial[0])
    return sb_fail(SB_ERR_INTERNAL, "%s: committed without having begun", out->path);
  SB_TRY(sb_folder_sync(out->partial));
  sb_status synced = SB_OK;
  sb_cleanup_hold();
  sb_status status = sb_outdir_move(out);
  if (status == SB_OK) {
    sb_cleanup_complete(out->path);
    synced = sync_place(out);
  }
  sb_cleanup_release();
  SB_TRY(status);
  status = settle(out, synced);
  sb_lock_release(&out->lock);
  return status;
}

sb_status sb_outdir_abandon(sb_outdir *out) {
  sb_status status = out->partial[0] ? sb_remove_tree(out->partial) : SB_OK;
  forget(out);
  sb_lock_release(&out->lock);
  return status;
}
