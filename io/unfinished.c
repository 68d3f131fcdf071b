#include "io/unfinished.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"

enum { HOST_DIGITS = 8, RANDOM_DIGITS = 16, ATTEMPTS = 16, ZFS_MAGIC = 0x2fc12fc1 };
static const char partial[] = ".partial-";

/* ---- names ---- */

/* FNV-1a of the host's name. */
static uint32_t host_mark(void) {
  char host[HOST_NAME_MAX + 1] = "";
  uint32_t mark = 2166136261u;
  (void)gethostname(host, sizeof host - 1);
  for (const char *c = host; *c; c++) mark = (mark ^ (unsigned char)*c) * 16777619u;
  return mark;
}

/* Early in the life of a machine there may be no random bits yet: then the time and the process,
 * which O_EXCL makes safe all the same. */
static uint64_t random_number(void) {
  static uint64_t count;
  uint64_t number;
  struct timespec now;
  if (getrandom(&number, sizeof number, GRND_NONBLOCK) == (ssize_t)sizeof number) return number;
  clock_gettime(CLOCK_REALTIME, &now);
  number = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec + ++count;
  return (number ^ (uint64_t)getpid() << 40) * UINT64_C(0x9e3779b97f4a7c15);
}

sb_status sb_unfinished_name(const char *start, char *out) {
  const int length = snprintf(out, SB_PATH_MAX, "%s%0*x-%0*llx", start, HOST_DIGITS, host_mark(),
                              RANDOM_DIGITS, (unsigned long long)random_number());
  if (length < 0 || length >= SB_PATH_MAX)
    return sb_fail(SB_ERR_IO, "%.100s...: the path is longer than %d bytes", start,
                   SB_PATH_MAX - 1 - SB_UNFINISHED_MARK);
  return SB_OK;
}

bool sb_unfinished_is(const char *name, const char *start, bool *here) {
  static const char digits[] = "0123456789abcdef";
  char mark[HOST_DIGITS + 1];
  const size_t length = strlen(start);
  *here = false;
  if (strncmp(name, start, length) != 0) return false;
  name += length;
  if (strspn(name, digits) != HOST_DIGITS || name[HOST_DIGITS] != '-') return false;
  snprintf(mark, sizeof mark, "%0*x", HOST_DIGITS, host_mark());
  *here = strncmp(name, mark, HOST_DIGITS) == 0;
  name += HOST_DIGITS + 1;
  return strspn(name, digits) == RANDOM_DIGITS && name[RANDOM_DIGITS] == 0;
}

/* ---- making ---- */

/* Takes the lock on a new file. False: a run that clears was quicker and has removed it. A file
 * system without locks gives no proof of life, and none of death either. */
static bool lock(const char *path, int fd) {
  struct stat file, named;
  if (flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) return false;
  return fstat(fd, &file) == 0 && lstat(path, &named) == 0 && file.st_ino == named.st_ino &&
         file.st_dev == named.st_dev;
}

sb_status sb_unfinished_create(const char *path, sb_unfinished *out) {
  char start[SB_PATH_MAX + sizeof partial];
  int error = EEXIST;
  snprintf(start, sizeof start, "%s%s", path, partial);
  for (int attempt = 0; attempt < ATTEMPTS && error == EEXIST; attempt++) {
    *out = SB_NO_UNFINISHED;
    SB_TRY(sb_unfinished_name(start, out->path));
    SB_TRY(sb_cleanup_add(out->path, &out->slot));
    out->fd = open(out->path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (out->fd >= 0 && lock(out->path, out->fd)) return SB_OK;
    if (out->fd < 0)
      error = errno;
    else
      close(out->fd);
    sb_cleanup_drop(out->slot);
  }
  *out = SB_NO_UNFINISHED;
  return sb_fail(SB_ERR_IO, "%s: cannot be created: %s", path,
                 error == ENAMETOOLONG ? "the name is too long" : strerror(error));
}

void sb_unfinished_release(sb_unfinished *u) {
  if (u->fd >= 0) close(u->fd);
  sb_cleanup_drop(u->slot);
  *u = SB_NO_UNFINISHED;
}

void sb_unfinished_abandon(sb_unfinished *u) {
  if (u->fd >= 0) unlink(u->path); /* while the lock is held */
  sb_unfinished_release(u);
}

/* ---- clearing ---- */

bool sb_unfinished_dies_here(const char *folder) {
  static const unsigned long kinds[] = {EXT4_SUPER_MAGIC, XFS_SUPER_MAGIC, BTRFS_SUPER_MAGIC,
                                        TMPFS_MAGIC,      RAMFS_MAGIC,     OVERLAYFS_SUPER_MAGIC,
                                        F2FS_SUPER_MAGIC, ZFS_MAGIC};
  struct statfs info;
  if (statfs(folder, &info) != 0) return false;
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
    if ((uint32_t)info.f_type == kinds[i]) return true;
  return false;
}

/* The lock is held while it is removed, so whoever is just making it notices. */
static void clear(const char *path) {
  struct stat info;
  if (lstat(path, &info) != 0 || !S_ISREG(info.st_mode) || info.st_uid != geteuid()) return;
  /* NFS wants a file open for writing where it is locked */
  const int fd = open(path, O_RDWR | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) return;
  if (flock(fd, LOCK_EX | LOCK_NB) == 0) (void)unlink(path);
  close(fd);
}

void sb_unfinished_clear(const char *path) {
  char parent[SB_PATH_MAX], found[SB_PATH_MAX], start[SB_PATH_MAX + sizeof partial];
  const char *slash = strrchr(path, '/');
  bool here, local;
  snprintf(start, sizeof start, "%s%s", slash ? slash + 1 : path, partial);
  sb_path_parent(parent, path);
  DIR *folder = opendir(parent);
  if (!folder) return;
  local = sb_unfinished_dies_here(parent);
  for (struct dirent *entry; (entry = readdir(folder));)
    if (sb_unfinished_is(entry->d_name, start, &here) && (here || local) &&
        sb_path_join(found, parent, entry->d_name) == SB_OK)
      clear(found);
  closedir(folder);
}
