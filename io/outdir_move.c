#include "io/outdir_move.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "io/unfinished.h"

enum { SUFFIX = 64, OVERLAYFS = 0x794c7630 };

static bool starts_with(const char *text, const char *start) {
  return strncmp(text, start, strlen(start)) == 0;
}

sb_status sb_outdir_look(const char *path, size_t *entries, bool *ours) {
  DIR *folder = opendir(path);
  if (!folder)
    return sb_fail(SB_ERR_IO, "%s: exists and cannot be read: %s", path, strerror(errno));
  *entries = 0;
  *ours = false;
  for (struct dirent *entry; (entry = readdir(folder));) {
    const char *name = entry->d_name;
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || strcmp(name, "lost+found") == 0 ||
        starts_with(name, SB_OUTDIR_HIDDEN))
      continue;
    *entries += 1;
    if (strcmp(name, "manifest.json") == 0 || strcmp(name, "config.json") == 0) *ours = true;
  }
  closedir(folder);
  return SB_OK;
}

/* ---- what killed runs left ---- */

sb_status sb_outdir_clear(const sb_outdir *out) {
  char holder[SB_PATH_MAX], start[SB_PATH_MAX + SUFFIX], path[SB_PATH_MAX];
  const char *slash = strrchr(out->path, '/');
  if (out->inside) {
    snprintf(holder, sizeof holder, "%s", out->path);
    snprintf(start, sizeof start, "%s", SB_OUTDIR_HIDDEN "partial-");
  } else {
    sb_path_parent(holder, out->path);
    snprintf(start, sizeof start, "%s.partial-", slash ? slash + 1 : out->path);
  }
  DIR *folder = opendir(holder);
  if (!folder) return SB_OK; /* may be written and not read: then nothing can be found */
  const bool local = sb_unfinished_dies_here(holder);
  for (struct dirent *entry; (entry = readdir(folder));) {
    struct stat info;
    bool here;
    if (!sb_unfinished_is(entry->d_name, start, &here) || !(here || local)) continue;
    if (sb_path_join(path, holder, entry->d_name) == SB_OK && lstat(path, &info) == 0 &&
        S_ISDIR(info.st_mode))
      (void)sb_remove_tree(path);
  }
  closedir(folder);
  return SB_OK;
}

/* ---- the trial ---- */

/* The partial folder gets another name of its kind. */
static sb_status try_own_name(sb_outdir *out) {
  char start[SB_PATH_MAX], other[SB_PATH_MAX];
  int slot;
  snprintf(start, sizeof start, "%.*s", (int)(strlen(out->partial) - SB_UNFINISHED_MARK),
           out->partial);
  SB_TRY(sb_unfinished_name(start, other));
  SB_TRY(sb_cleanup_add_tree(other, &slot));
  if (rename(out->partial, other) != 0) {
    const int error = errno;
    sb_cleanup_drop(slot);
    return sb_fail(SB_ERR_IO, "%s: folders in its place cannot be renamed: %s", out->path,
                   strerror(error));
  }
  sb_cleanup_drop(out->slot);
  out->slot = slot;
  strcpy(out->partial, other);
  return SB_OK;
}

/* out[SB_PATH_MAX] = a free name beside OUT for its content, one that no later run clears. */
static sb_status name_aside(const sb_outdir *out, char *aside) {
  char start[SB_PATH_MAX + SUFFIX];
  snprintf(start, sizeof start, "%s.old-", out->path);
  return sb_unfinished_name(start, aside);
}

/* Overlay file systems refuse to move a folder of a lower layer, and tell only when they are to. */
static sb_status try_aside(const sb_outdir *out) {
  char aside[SB_PATH_MAX];
  struct statfs info;
  if (statfs(out->path, &info) != 0 || (unsigned long)info.f_type != OVERLAYFS) return SB_OK;
  SB_TRY(name_aside(out, aside));
  if (rename(out->path, aside) != 0)
    return sb_fail(SB_ERR_IO, "%s: cannot be moved: %s; choose another output folder, or empty it",
                   out->path, strerror(errno));
  if (rename(aside, out->path) != 0)
    return sb_fail(SB_ERR_IO, "%s: was moved for a trial and not back: %s; its content is in %s",
                   out->path, strerror(errno), aside);
  return SB_OK;
}

/* A folder renamed over one with content is always refused, but the kernel looks at rights and
 * mount points first: ENOTEMPTY says that these are no obstacle. */
static sb_status try_over(sb_outdir *out) {
  if (rename(out->partial, out->path) == 0) { /* somebody has emptied it meanwhile */
    if (rename(out->path, out->partial) == 0 && mkdir(out->path, 0777) == 0) return SB_OK;
    return sb_fail(SB_ERR_IO, "%s: was emptied by somebody else meanwhile; try again", out->path);
  }
  if (errno == ENOTEMPTY || errno == EEXIST) return try_aside(out);
  if (errno == EBUSY || errno == EXDEV)
    return sb_fail(
        SB_ERR_IO,
        "%s: is a mount point with content, which cannot be replaced; empty it, or choose "
        "a folder in it",
        out->path);
  if (errno == EPERM || errno == EACCES)
    return sb_fail(SB_ERR_IO,
                   "%s: may not be replaced (%s; it is somebody else's); choose another output "
                   "folder",
                   out->path, strerror(errno));
  return sb_fail(SB_ERR_IO, "%s: cannot be replaced: %s; choose another output folder", out->path,
                 strerror(errno));
}

sb_status sb_outdir_try_moves(sb_outdir *out) {
  SB_TRY(try_own_name(out));
  return out->replaces ? try_over(out) : SB_OK;
}

/* ---- the moves ---- */

/* OUT, which has content, and the partial folder change places. */
static sb_status exchange(sb_outdir *out) {
  if (renameat2(AT_FDCWD, out->partial, AT_FDCWD, out->path, RENAME_EXCHANGE) == 0) return SB_OK;
  char aside[SB_PATH_MAX];
  SB_TRY(name_aside(out, aside));
  if (rename(out->path, aside) != 0)
    return sb_fail(SB_ERR_IO, "%s: cannot be moved aside: %s", out->path, strerror(errno));
  if (rename(out->partial, out->path) != 0) {
    int error = errno;
    if (rename(aside, out->path) != 0)
      return sb_fail(SB_ERR_IO, "%s: cannot be put in place (%s); the old content is in %s",
                     out->path, strerror(error), aside);
    return sb_fail(SB_ERR_IO, "%s: cannot be put in place: %s; the old content is untouched",
                   out->path, strerror(error));
  }
  strcpy(out->partial, aside);
  return SB_OK;
}

static sb_status taken_meanwhile(const sb_outdir *out) {
  return sb_fail(
      SB_ERR_IO,
      "%s: somebody has put something there meanwhile; it stays, and the new output is dropped: "
      "choose another output folder (--checkpoint keeps the work of such a run)",
      out->path);
}

static sb_status put_in_place(sb_outdir *out) {
  if (rename(out->partial, out->path) == 0) return SB_OK;
  if (errno == ENOTEMPTY || errno == EEXIST || errno == ENOTDIR) return taken_meanwhile(out);
  return sb_fail(SB_ERR_IO, "%s: cannot be put in place: %s", out->path, strerror(errno));
}

/* The later a file comes, the more it promises. */
static int promise(const char *name) {
  static const char *const last[] = {"config.json", "model.safetensors.index.json",
                                     "manifest.json"};
  for (int i = 0; i < 3; i++)
    if (strcmp(name, last[i]) == 0) return i + 1;
  return 0;
}

static int by_promise(const struct dirent **a, const struct dirent **b) {
  const int difference = promise((*a)->d_name) - promise((*b)->d_name);
  return difference ? difference : strcmp((*a)->d_name, (*b)->d_name);
}

static int no_dots(const struct dirent *entry) {
  return strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
}

/* Moves one file of the partial folder up to OUT, or back; the errno, 0 for none. */
static int move_one(const sb_outdir *out, const char *name, bool back) {
  char low[SB_PATH_MAX], high[SB_PATH_MAX];
  if (snprintf(low, sizeof low, "%s/%s", out->partial, name) >= SB_PATH_MAX ||
      snprintf(high, sizeof high, "%s/%s", out->path, name) >= SB_PATH_MAX)
    return ENAMETOOLONG;
  return rename(back ? high : low, back ? low : high) == 0 ? 0 : errno;
}

/* Everything but the last file is on the disk in OUT before that follows. */
static sb_status move_up(sb_outdir *out) {
  struct dirent **names = NULL;
  size_t entries;
  bool ours;
  SB_TRY(sb_outdir_look(out->path, &entries, &ours));
  if (entries > 0) return taken_meanwhile(out);
  const int count = scandir(out->partial, &names, no_dots, by_promise);
  if (count < 0) return sb_fail(SB_ERR_IO, "%s: cannot be read: %s", out->partial, strerror(errno));
  sb_status status = SB_OK;
  int moved = 0;
  while (moved < count && status == SB_OK) {
    if (moved == count - 1) status = sb_folder_sync(out->path);
    const int error = status == SB_OK ? move_one(out, names[moved]->d_name, false) : 0;
    if (error)
      status = sb_fail(SB_ERR_IO, "%s/%s: cannot be put in place: %s; nothing was replaced",
                       out->path, names[moved]->d_name, strerror(error));
    if (status == SB_OK) moved++;
  }
  while (status != SB_OK && moved > 0) (void)move_one(out, names[--moved]->d_name, true);
  for (int i = 0; i < count; i++) free(names[i]);
  free(names);
  if (status == SB_OK) (void)rmdir(out->partial);
  return status;
}

sb_status sb_outdir_move(sb_outdir *out) {
  if (out->inside) return move_up(out);
  return out->replaces ? exchange(out) : put_in_place(out);
}
