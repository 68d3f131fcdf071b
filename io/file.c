#include "io/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/memory.h"

/* One system call moves at most this much: Linux stops at 2 GiB - 4 KiB anyway. */
static const size_t max_transfer = (size_t)1 << 30;

sb_status sb_path_join(char *out, const char *folder, const char *name) {
  size_t length = strlen(folder);
  const char *slash = length && folder[length - 1] == '/' ? "" : "/";
  int written = snprintf(out, SB_PATH_MAX, "%s%s%s", folder, slash, name);
  if (written < 0 || written >= SB_PATH_MAX)
    return sb_fail(SB_ERR_IO, "%s/%s: the path is longer than %d bytes", folder, name,
                   SB_PATH_MAX - 1);
  return SB_OK;
}

void sb_path_parent(char *out, const char *path) {
  const char *slash = strrchr(path, '/');
  if (!slash)
    strcpy(out, ".");
  else
    snprintf(out, SB_PATH_MAX, "%.*s", slash == path ? 1 : (int)(slash - path), path);
}

const char *sb_file_kind(unsigned mode) {
  return S_ISDIR(mode)    ? "a folder"
         : S_ISFIFO(mode) ? "a pipe"
         : S_ISSOCK(mode) ? "a socket"
         : S_ISLNK(mode)  ? "a link"
         : S_ISREG(mode)  ? "a regular file"
                          : "a device";
}

/* Opens a regular file and tells what it is. Opening a pipe that nobody writes to would wait for
 * ever, and opening a device can have effects of its own, so nothing is waited for, and a file that
 * another program has leased is asked for again only once it is known to be a regular one. */
static sb_status open_regular(const char *path, int flags, int *fd, struct stat *info) {
  *fd = open(path, flags | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
  if (*fd < 0 && errno == EWOULDBLOCK && stat(path, info) == 0 && S_ISREG(info->st_mode))
    *fd = open(path, flags | O_NOCTTY | O_CLOEXEC);
  if (*fd < 0 && errno == ELOOP && (flags & O_NOFOLLOW))
    return sb_fail(SB_ERR_IO, "%s: is a link, or links lead round in a circle", path);
  if (*fd < 0 && (errno == ENXIO || errno == ENODEV) && stat(path, info) == 0)
    return sb_fail(SB_ERR_IO, "%s: is %s, not a regular file", path, sb_file_kind(info->st_mode));
  if (*fd < 0) return sb_fail(SB_ERR_IO, "%s: cannot be opened: %s", path, strerror(errno));
  if (fstat(*fd, info) != 0) {
    int error = errno;
    close(*fd);
    *fd = -1;
    return sb_fail(SB_ERR_IO, "%s: cannot be examined: %s", path, strerror(error));
  }
  if (!S_ISREG(info->st_mode)) {
    close(*fd);
    *fd = -1;
    return sb_fail(SB_ERR_IO, "%s: is %s, not a regular file", path, sb_file_kind(info->st_mode));
  }
  return SB_OK;
}

bool sb_path_is_in(const char *path, const char *folder) {
  const size_t length = strlen(folder);
  return strncmp(path, folder, length) == 0 && (path[length] == '/' || path[length] == '\0');
}

sb_status sb_file_open(const char *path, int *fd, uint64_t *bytes) {
  struct stat info;
  SB_TRY(open_regular(path, O_RDONLY, fd, &info));
  *bytes = (uint64_t)info.st_size;
  return SB_OK;
}

sb_status sb_file_read_at(int fd, const char *path, uint64_t offset, void *dst, size_t bytes) {
  char *cursor = dst;
  while (bytes > 0) {
    ssize_t got = pread(fd, cursor, sb_min_size(bytes, max_transfer), (off_t)offset);
    if (got < 0) {
      if (errno == EINTR) continue;
      return sb_fail(SB_ERR_IO, "%s: reading %zu bytes at byte %llu failed: %s", path, bytes,
                     (unsigned long long)offset, strerror(errno));
    }
    if (got == 0)
      return sb_fail(SB_ERR_FORMAT,
                     "%s: ends at byte %llu where %zu more bytes are needed; the file is truncated",
                     path, (unsigned long long)offset, bytes);
    cursor += got;
    offset += (uint64_t)got;
    bytes -= (size_t)got;
  }
  return SB_OK;
}

sb_status sb_file_read_all(const char *path, size_t limit, char **data, size_t *bytes) {
  sb_status status = SB_OK;
  uint64_t size = 0;
  int fd;
  *data = NULL;
  SB_TRY(sb_file_open(path, &fd, &size));
  if (size > limit) {
    status = sb_fail(SB_ERR_FORMAT, "%s: has %llu bytes; at most %zu are expected in such a file",
                     path, (unsigned long long)size, limit);
    goto done;
  }
  SB_GO(sb_alloc_raw(data, (size_t)size + 1, 1, path));
  SB_GO(sb_file_read_at(fd, path, 0, *data, (size_t)size));
  (*data)[size] = '\0';
  *bytes = (size_t)size;
done:
  close(fd);
  if (status != SB_OK) sb_free(data);
  return status;
}

sb_status sb_file_create(const char *path, int *fd) {
  *fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
  if (*fd < 0) return sb_fail(SB_ERR_IO, "%s: cannot be created: %s", path, strerror(errno));
  return SB_OK;
}

sb_status sb_file_create_again(const char *path, int *fd) {
  struct stat info;
  *fd = -1;
  if (lstat(path, &info) == 0) {
    if (!S_ISREG(info.st_mode) && !S_ISLNK(info.st_mode))
      return sb_fail(SB_ERR_IO, "%s: is %s, not a regular file", path, sb_file_kind(info.st_mode));
    if (unlink(path) != 0 && errno != ENOENT)
      return sb_fail(SB_ERR_IO, "%s: cannot be replaced: %s", path, strerror(errno));
  }
  return sb_file_create(path, fd);
}

sb_status sb_file_open_update(const char *path, int *fd) {
  struct stat info;
  return open_regular(path, O_RDWR | O_NOFOLLOW, fd, &info);
}

sb_status sb_file_write_error(const char *path, int error, uint64_t written, uint64_t about) {
  const char *why = error == ENOSPC   ? "no space left"
                    : error == EDQUOT ? "the disk quota is used up"
                    : error == EFBIG  ? "the limit on file sizes is reached"
                                      : strerror(error);
  if (about > written)
    return sb_fail(SB_ERR_IO, "%s: %s after %llu of about %llu bytes; nothing was replaced", path,
                   why, (unsigned long long)written, (unsigned long long)about);
  return sb_fail(SB_ERR_IO, "%s: %s after %llu bytes; nothing was replaced", path, why,
                 (unsigned long long)written);
}

sb_status sb_file_write_at(int fd, const char *path, uint64_t offset, const void *src, size_t bytes,
                           uint64_t about) {
  const char *cursor = src;
  while (bytes > 0) {
    ssize_t put = pwrite(fd, cursor, sb_min_size(bytes, max_transfer), (off_t)offset);
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) return sb_file_write_error(path, put < 0 ? errno : ENOSPC, offset, about);
    cursor += put;
    offset += (uint64_t)put;
    bytes -= (size_t)put;
  }
  return SB_OK;
}

sb_status sb_file_sync(int fd, const char *path) {
  if (fsync(fd) != 0)
    return sb_fail(SB_ERR_IO, "%s: could not be brought to the disk: %s", path, strerror(errno));
  return SB_OK;
}

sb_status sb_folder_sync(const char *path) {
  int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return sb_fail(SB_ERR_IO, "%s: cannot be opened: %s", path, strerror(errno));
  /* Some network file systems cannot sync a folder and say EINVAL; they keep the order of
   * operations themselves. */
  int failed = fsync(fd) != 0 && errno != EINVAL ? errno : 0;
  close(fd);
  if (failed)
    return sb_fail(SB_ERR_IO, "%s: could not be brought to the disk: %s", path, strerror(failed));
  return SB_OK;
}

sb_status sb_copy_file(const char *from, const char *to) {
  enum { CHUNK = 1 << 20 };
  sb_status status = SB_OK;
  int in = -1, out = -1;
  char *buffer = NULL;
  uint64_t total;
  SB_TRY(sb_file_open(from, &in, &total));
  SB_GO(sb_alloc_raw(&buffer, CHUNK, 1, "copy buffer"));
  SB_GO(sb_file_create(to, &out));
  for (uint64_t at = 0; at < total;) {
    size_t bytes = total - at < CHUNK ? (size_t)(total - at) : CHUNK;
    SB_GO(sb_file_read_at(in, from, at, buffer, bytes));
    SB_GO(sb_file_write_at(out, to, at, buffer, bytes, total));
    at += bytes;
  }
  status = sb_file_sync(out, to);
done:
  sb_free(&buffer);
  close(in);
  if (out >= 0) {
    close(out);
    if (status != SB_OK) unlink(to);
  }
  return status;
}

sb_status sb_remove_tree(const char *path) {
  const int error = sb_cleanup_remove_tree(path);
  if (error) return sb_fail(SB_ERR_IO, "%s: cannot be removed: %s", path, strerror(error));
  return SB_OK;
}
