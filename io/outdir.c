#include "io/outdir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/clock.h"

/* path without trailing slashes, links resolved where it exists. */
static sb_status normalise(const char *path, char *out) {
  size_t length = strlen(path);
  while (length > 1 && path[length - 1] == '/') length--;
  if (length == 0) return sb_fail(SB_ERR_USAGE, "the output folder's name is empty");
  if (length + 32 >= SB_PATH_MAX) return sb_fail(SB_ERR_IO, "%s: the path is too long", path);
  memcpy(out, path, length);
  out[length] = '\0';
  char resolved[PATH_MAX];
  if (realpath(out, resolved) && strlen(resolved) + 32 < SB_PATH_MAX) strcpy(out, resolved);
  return SB_OK;
}

/* *entries: names in the folder besides . and .. ; *ours: a manifest.json or
 * config.json is among them. */
static sb_status look_inside(const char *path, size_t *entries, bool *ours) {
  DIR *folder = opendir(path);
  if (!folder)
    return sb_fail(SB_ERR_IO, "%s: exists and cannot be read: %s", path, strerror(errno));
  *entries = 0;
  *ours = false;
  for (struct dirent *entry; (entry = readdir(folder));) {
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
    *entries += 1;
    if (strcmp(entry->d_name, "manifest.json") == 0 || strcmp(entry->d_name, "config.json") == 0)
      *ours = true;
  }
  closedir(folder);
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
  SB_TRY(look_inside(out->path, &entries, &ours));
  if (entries == 0) return SB_OK;
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

sb_status sb_outdir_begin(const char *path, bool overwrite, sb_outdir *out) {
  char parent[SB_PATH_MAX];
  struct stat info;
  memset(out, 0, sizeof *out);
  SB_TRY(normalise(path, out->path));
  sb_path_parent(parent, out->path);
  if (stat(parent, &info) != 0)
    return sb_fail(SB_ERR_IO,
                   "%s: the folder %s that should hold it is not there (%s); make it first",
                   out->path, parent, strerror(errno));
  if (!S_ISDIR(info.st_mode))
    return sb_fail(SB_ERR_IO, "%s: %s, that should hold it, is not a folder", out->path, parent);
  SB_TRY(check_target(out, overwrite));
  if (faccessat(AT_FDCWD, parent, W_OK | X_OK, AT_EACCESS) != 0)
    return sb_fail(SB_ERR_IO, "%s: the folder %s is not writable (%s)", out->path, parent,
                   strerror(errno));
  for (int attempt = 0; attempt < 16; attempt++) {
    uint32_t random;
    if (getrandom(&random, sizeof random, GRND_NONBLOCK) != (ssize_t)sizeof random)
      random = (uint32_t)getpid() * 2654435761u + (uint32_t)(int64_t)(sb_now() * 1e6) +
               (uint32_t)attempt;
    snprintf(out->partial, sizeof out->partial, "%.*s.partial-%08x", SB_PATH_MAX - 32, out->path,
             random);
    if (mkdir(out->partial, 0777) == 0) return SB_OK;
    if (errno != EEXIST) break;
  }
  sb_status status = sb_fail(SB_ERR_IO, "%s: cannot be created: %s", out->partial, strerror(errno));
  out->partial[0] = '\0';
  return status;
}

sb_status sb_outdir_spare(const char *path, const char *input) {
  char out[PATH_MAX], in[PATH_MAX], parent[SB_PATH_MAX];
  if (!realpath(path, out) || strlen(input) >= SB_PATH_MAX)
    return SB_OK; /* nothing there to be removed */
  sb_path_parent(parent, input);
  if (!realpath(input, in) && !realpath(parent, in)) return SB_OK; /* whoever reads it will tell */
  size_t length = strlen(out);
  if (strncmp(in, out, length) != 0 || (in[length] != '/' && in[length] != '\0')) return SB_OK;
  return sb_fail(
      SB_ERR_IO,
      "%s: replacing it would remove %s, which this run needs; choose another output folder", path,
      input);
}

sb_status sb_outdir_require_space(const sb_outdir *out, uint64_t bytes) {
  struct statvfs info;
  if (statvfs(out->partial, &info) != 0) return SB_OK; /* the write itself will tell */
  uint64_t free_bytes = (uint64_t)info.f_bavail * info.f_frsize;
  if (free_bytes < bytes)
    return sb_fail(SB_ERR_IO,
                   "%s: needs about %.1f MiB and its disk has %.1f MiB free; nothing was replaced",
                   out->path, (double)bytes / 1048576.0, (double)free_bytes / 1048576.0);
  return SB_OK;
}

/* OUT, which has content, and the partial folder change places; the old content is then removed. */
static sb_status replace(sb_outdir *out) {
  if (renameat2(AT_FDCWD, out->partial, AT_FDCWD, out->path, RENAME_EXCHANGE) == 0) return SB_OK;
  char aside[SB_PATH_MAX];
  snprintf(aside, sizeof aside, "%.*s.partial-old-%ld", SB_PATH_MAX - 32, out->path,
           (long)getpid());
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

sb_status sb_outdir_commit(sb_outdir *out) {
  char parent[SB_PATH_MAX];
  if (!out->partial[0])
    return sb_fail(SB_ERR_INTERNAL, "%s: committed without having begun", out->path);
  SB_TRY(sb_folder_sync(out->partial));
  sb_path_parent(parent, out->path);
  if (out->replaces) {
    SB_TRY(replace(out));
    SB_TRY(sb_folder_sync(parent));
    return sb_outdir_abandon(out); /* `partial` now names the old content */
  }
  if (rename(out->partial, out->path) != 0) {
    if (errno == ENOTEMPTY || errno == EEXIST || errno == ENOTDIR)
      return sb_fail(SB_ERR_IO,
                     "%s: somebody else has put something there meanwhile; nothing was replaced",
                     out->path);
    return sb_fail(SB_ERR_IO, "%s: cannot be put in place: %s", out->path, strerror(errno));
  }
  out->partial[0] = '\0';
  return sb_folder_sync(parent);
}

sb_status sb_outdir_abandon(sb_outdir *out) {
  if (!out->partial[0]) return SB_OK;
  sb_status status = sb_remove_tree(out->partial);
  out->partial[0] = '\0';
  return status;
}
