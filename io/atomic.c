#include "io/atomic.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"

enum { MOST_LINKS = 40 };

/* ---- what `path` means ---- */

/* The kernel does not follow such links either (protected_symlinks), but where their text is read
 * it cannot know that they are followed. */
static bool is_planted(const struct stat *link, const char *parent) {
  struct stat folder;
  return stat(parent, &folder) == 0 && (folder.st_mode & S_ISVTX) && (folder.st_mode & S_IWOTH) &&
         link->st_uid != geteuid() && link->st_uid != folder.st_uid;
}

/* Replaces `target`, a link, by what it leads to. */
static sb_status follow(const char *path, const struct stat *link, char *target) {
  char parent[SB_PATH_MAX], text[SB_PATH_MAX];
  sb_path_parent(parent, target);
  if (is_planted(link, parent))
    return sb_fail(SB_ERR_IO,
                   "%s: is a link of somebody else's in a folder that everybody may write to; "
                   "remove it or choose another name",
                   path);
  const ssize_t length = readlink(target, text, sizeof text);
  if (length <= 0 || length == (ssize_t)sizeof text)
    return sb_fail(SB_ERR_IO, "%s: is a link that cannot be read: %s", path,
                   length < 0 ? strerror(errno) : "it is too long");
  text[length] = 0;
  if (text[0] != '/') return sb_path_join(target, parent, text);
  memcpy(target, text, (size_t)length + 1);
  return SB_OK;
}

static sb_status resolve(const char *path, char *target) {
  struct stat info, meant;
  if (strlen(path) >= SB_PATH_MAX)
    return sb_fail(SB_ERR_IO, "%.100s...: the path is too long", path);
  strcpy(target, path);
  int links = 0;
  for (; lstat(target, &info) == 0 && S_ISLNK(info.st_mode); links++) {
    if (links == MOST_LINKS) return sb_fail(SB_ERR_IO, "%s: links lead round in a circle", path);
    SB_TRY(follow(path, &info, target));
  }
  /* /dev/stdout leads to a file whose name may be gone */
  if (links > 0 && stat(path, &meant) == 0 &&
      (lstat(target, &info) != 0 || info.st_ino != meant.st_ino || info.st_dev != meant.st_dev))
    return sb_fail(SB_ERR_IO, "%s: is a link to a file that has no name any more", path);
  return SB_OK;
}

/* *streams: it is written to as it is, and target = path. */
static sb_status settle(const char *path, char *target, bool *streams) {
  struct stat info;
  *streams = false;
  if (stat(path, &info) == 0) {
    *streams = S_ISFIFO(info.st_mode) || S_ISCHR(info.st_mode);
    if (!*streams && !S_ISREG(info.st_mode))
      return sb_fail(SB_ERR_IO, "%s: is %s; give the name of a file", path,
                     sb_file_kind(info.st_mode));
  }
  if (!*streams) return resolve(path, target);
  if (strlen(path) >= SB_PATH_MAX)
    return sb_fail(SB_ERR_IO, "%.100s...: the path is too long", path);
  strcpy(target, path);
  return SB_OK;
}

/* A folder that is renamed over a file is always refused, but the kernel looks at rights first:
 * ENOTDIR says that these are no obstacle. A mount point has to be asked for. */
static sb_status try_over(const char *path, const char *target, const char *trial) {
  struct statx info;
  if (statx(AT_FDCWD, target, AT_SYMLINK_NOFOLLOW, STATX_TYPE, &info) != 0) return SB_OK;
  if (info.stx_attributes & STATX_ATTR_MOUNT_ROOT)
    return sb_fail(SB_ERR_IO, "%s: is a mount point, which cannot be replaced; give another file",
                   path);
  if (rename(trial, target) == 0 ||
      (errno != EPERM && errno != EACCES && errno != EBUSY && errno != EROFS))
    return SB_OK;
  return sb_fail(SB_ERR_IO, "%s: may not be replaced (%s); give another file", path,
                 strerror(errno));
}

static sb_status try_place(const char *path, const char *target) {
  char parent[SB_PATH_MAX], start[SB_PATH_MAX + SB_UNFINISHED_SUFFIX], trial[SB_PATH_MAX];
  int slot;
  sb_path_parent(parent, target);
  snprintf(start, sizeof start, "%s.partial-", target);
  SB_TRY(sb_unfinished_name(start, trial));
  SB_TRY(sb_cleanup_add(trial, &slot));
  const int error = mkdir(trial, 0700) == 0 ? 0 : errno;
  sb_status status = error ? sb_fail(SB_ERR_IO, "%s: cannot be written: the folder %s: %s", path,
                                     parent, strerror(error))
                           : try_over(path, target, trial);
  if (!error) (void)rmdir(trial);
  sb_cleanup_drop(slot);
  return status;
}

sb_status sb_file_check_target(const char *path) {
  char target[SB_PATH_MAX];
  bool streams;
  SB_TRY(settle(path, target, &streams));
  if (streams) return SB_OK;
  const char *slash = strrchr(target, '/');
  const size_t most = NAME_MAX - SB_UNFINISHED_SUFFIX;
  if (strlen(slash ? slash + 1 : target) > most)
    return sb_fail(SB_ERR_IO, "%s: the name is longer than %zu bytes", path, most);
  sb_unfinished_clear(target);
  return try_place(path, target);
}

/* ---- writing ---- */

sb_status sb_stream_open(const char *path, int *out) {
  struct stat info;
  const int fd = open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
  *out = -1;
  if (fd < 0 && errno == ENXIO)
    return sb_fail(SB_ERR_IO, "%s: is a pipe that nobody reads from; start its reader first", path);
  if (fd < 0) return sb_fail(SB_ERR_IO, "%s: cannot be opened: %s", path, strerror(errno));
  const int flags = fcntl(fd, F_GETFL);
  if (fstat(fd, &info) != 0 || !(S_ISFIFO(info.st_mode) || S_ISCHR(info.st_mode)) || flags < 0 ||
      fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) != 0) {
    close(fd);
    return sb_fail(SB_ERR_IO, "%s: has changed while it was opened; try again", path);
  }
  *out = fd;
  return SB_OK;
}

sb_status sb_atomic_file_begin(const char *path, sb_atomic_file *out) {
  *out = SB_NO_ATOMIC_FILE;
  SB_TRY(settle(path, out->target, &out->streams));
  strcpy(out->path, path);
  return out->streams ? sb_stream_open(out->path, &out->partial.fd)
                      : sb_unfinished_create(out->target, &out->partial);
}

static sb_status write_stream(const sb_atomic_file *file, const char *data, size_t bytes) {
  for (size_t done = 0; done < bytes;) {
    const ssize_t put = write(file->partial.fd, data + done, bytes - done);
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0)
      return sb_fail(SB_ERR_IO, "%s: cannot be written to: %s", file->path,
                     put < 0 ? strerror(errno) : "no space left");
    done += (size_t)put;
  }
  return SB_OK;
}

sb_status sb_atomic_file_append(sb_atomic_file *file, const void *data, size_t bytes,
                                uint64_t about) {
  SB_TRY(file->streams
             ? write_stream(file, data, bytes)
             : sb_file_write_at(file->partial.fd, file->path, file->bytes, data, bytes, about));
  file->bytes += bytes;
  return SB_OK;
}

sb_status sb_atomic_file_commit(sb_atomic_file *file) {
  char parent[SB_PATH_MAX];
  if (file->streams) {
    sb_atomic_file_abandon(file);
    return SB_OK;
  }
  SB_TRY(sb_file_sync(file->partial.fd, file->path));
  if (rename(file->partial.path, file->target) != 0)
    return sb_fail(SB_ERR_IO, "%s: cannot be put in place: %s", file->path, strerror(errno));
  sb_unfinished_release(&file->partial);
  sb_path_parent(parent, file->target);
  return sb_folder_sync(parent);
}

void sb_atomic_file_abandon(sb_atomic_file *file) {
  if (file->streams)
    sb_unfinished_release(&file->partial);
  else
    sb_unfinished_abandon(&file->partial);
}

sb_status sb_file_write_atomic(const char *path, const void *data, size_t bytes) {
  sb_atomic_file file;
  SB_TRY(sb_atomic_file_begin(path, &file));
  sb_status status = sb_atomic_file_append(&file, data, bytes, bytes);
  SB_THEN(sb_atomic_file_commit(&file));
  sb_atomic_file_abandon(&file);
  return status;
}
