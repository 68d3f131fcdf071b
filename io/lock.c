#include "io/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <mntent.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"

enum { LINE = 512, ATTEMPTS = 16 };

static void host_name(char *host, size_t size) {
  memset(host, 0, size);
  if (gethostname(host, size - 1) != 0) snprintf(host, size, "unknown");
}

/* "process 4711 on node12 since 2026-11-30 13:45:12 UTC" */
static void describe_self(char line[LINE]) {
  char host[256], since[64] = "";
  const time_t now = time(NULL);
  struct tm parts;
  host_name(host, sizeof host);
  if (gmtime_r(&now, &parts)) strftime(since, sizeof since, "%Y-%m-%d %H:%M:%S UTC", &parts);
  snprintf(line, LINE, "process %ld on %s since %s\n", (long)getpid(), host, since);
}

/* What the file says of its holder; "" where it says nothing. */
static void read_holder(int fd, char line[LINE]) {
  const ssize_t got = pread(fd, line, LINE - 1, 0);
  line[got > 0 ? got : 0] = 0;
  line[strcspn(line, "\n")] = 0;
}

/* Process and host of a holder's line; *here: the host is this one. False where it names none. */
static bool parse_holder(const char *line, long *pid, bool *here) {
  char host[256], theirs[256];
  host_name(host, sizeof host);
  if (sscanf(line, "process %ld on %255s", pid, theirs) != 2) return false;
  *here = strcmp(host, theirs) == 0;
  return true;
}

/* Without locks of the file system: whether the holder surely runs no more. */
static bool holder_is_dead(const char *line) {
  long pid;
  bool here;
  return parse_holder(line, &pid, &here) && here && pid > 0 && kill((pid_t)pid, 0) != 0 &&
         errno == ESRCH;
}

static bool holder_is_elsewhere(const char *line) {
  long pid;
  bool here;
  return parse_holder(line, &pid, &here) && !here;
}

/* Whether only processes of this host see locks on the file: its network file system is mounted so,
 * or keeps them to itself. */
static bool is_seen_here_only(int fd) {
  static const char *const options[] = {"nolock", "local_lock=all", "local_lock=posix",
                                        "localflock"};
  struct stat file, root;
  bool found = false;
  FILE *mounts = setmntent("/proc/self/mounts", "re");
  if (!mounts || fstat(fd, &file) != 0) {
    if (mounts) endmntent(mounts);
    return false;
  }
  for (struct mntent *m; !found && (m = getmntent(mounts));) {
    bool local = strcmp(m->mnt_type, "beegfs") == 0;
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
      local |= hasmntopt(m, options[i]) != NULL;
    found = local && stat(m->mnt_dir, &root) == 0 && root.st_dev == file.st_dev;
  }
  endmntent(mounts);
  return found;
}

static sb_status in_use(const char *what, const char *line, const char *path, bool kernel) {
  const char *holder = line[0] ? line : "another process";
  if (kernel)
    return sb_fail(SB_ERR_IO, "%s: is in use by %s; wait for its end, or choose another name", what,
                   holder);
  return sb_fail(SB_ERR_IO, "%s: is in use by %s; if that has ended, remove %s", what, holder,
                 path);
}

/* SB_OK where the file is this process's: it has the kernel's lock; or there are none, and it has
 * just created the file (`made`), or the holder is dead. SB_ERR_IO where another process has it. */
static sb_status lock_file(int fd, const char *path, const char *what, bool made) {
  struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
  char line[LINE];
  int got;
  do got = fcntl(fd, F_OFD_SETLK, &whole);
  while (got != 0 && errno == EINTR);
  const bool taken = got != 0 && (errno == EAGAIN || errno == EACCES);
  read_holder(fd, line);
  if (got == 0 && !made && holder_is_elsewhere(line) && is_seen_here_only(fd))
    return in_use(what, line, path, false);
  if (got == 0) return SB_OK;
  if (!taken && (made || holder_is_dead(line))) return SB_OK;
  return in_use(what, line, path, taken);
}

static sb_status write_holder(sb_lock *lock, const char *what) {
  char line[LINE];
  describe_self(line);
  if (ftruncate(lock->fd, 0) != 0)
    return sb_fail(SB_ERR_IO, "%s: cannot be locked: %s: %s", what, lock->path, strerror(errno));
  SB_TRY(sb_file_write_at(lock->fd, lock->path, 0, line, strlen(line), 0));
  return sb_cleanup_add(lock->path, &lock->slot);
}

/* Whether `path` still names the open file: its last holder removes it. */
static bool is_named(int fd, const char *path) {
  struct stat open_file, named;
  return fstat(fd, &open_file) == 0 && lstat(path, &named) == 0 &&
         open_file.st_dev == named.st_dev && open_file.st_ino == named.st_ino;
}

static int open_lock(const char *path, bool *made) {
  const int flags = O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;
  int fd = open(path, flags | O_CREAT | O_EXCL, 0666);
  *made = fd >= 0;
  if (fd < 0 && errno == EEXIST) {
    fd = open(path, flags);
    if (fd < 0 && errno == ENOENT) errno = EAGAIN; /* removed between the two looks */
  }
  return fd;
}

static sb_status take(const char *path, const char *what, sb_lock *out) {
  *out = SB_NO_LOCK;
  snprintf(out->path, sizeof out->path, "%s", path);
  for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
    bool made;
    struct stat info;
    const int fd = open_lock(path, &made);
    if (fd < 0 && errno == EAGAIN) continue;
    if (fd < 0)
      return sb_fail(SB_ERR_IO, "%s: cannot be locked: %s: cannot be created: %s", what, path,
                     strerror(errno));
    sb_status status = SB_OK;
    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode))
      status = sb_fail(SB_ERR_IO, "%s: cannot be locked: %s is not a regular file; remove it", what,
                       path);
    SB_THEN(lock_file(fd, path, what, made));
    if (status == SB_OK && !is_named(fd, path)) {
      close(fd);
      continue;
    }
    if (status != SB_OK) { /* a file that is not this process's stays */
      close(fd);
      return status;
    }
    out->fd = fd;
    status = write_holder(out, what);
    if (status != SB_OK) sb_lock_release(out);
    return status;
  }
  return sb_fail(SB_ERR_IO, "%s: cannot be locked: %s comes and goes; try again", what, path);
}

/* A signal waits until the file is registered, or another's. */
sb_status sb_lock_take(const char *path, const char *what, sb_lock *out) {
  sb_cleanup_hold();
  const sb_status status = take(path, what, out);
  sb_cleanup_release();
  return status;
}

void sb_lock_release(sb_lock *lock) {
  if (lock->fd < 0) return;
  /* While it is held: who opens it now finds another file, or none. */
  if (is_named(lock->fd, lock->path)) unlink(lock->path);
  close(lock->fd);
  sb_cleanup_drop(lock->slot);
  *lock = SB_NO_LOCK;
}
