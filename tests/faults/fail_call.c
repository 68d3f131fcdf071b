/* Preloaded into a rank of the program (LD_PRELOAD): the k-th call about files of one folder fails.
 *
 * Counted are calls that open, read, write, map, cut, sync, rename or make something below
 * FAIL_UNDER (an absolute path), in the rank FAIL_RANK, so files of MPI and of the system do not
 * count. Call number FAIL_AT fails, once. FAIL_ERROR is EIO, ENOSPC or ENOMEM; without it, what the
 * kind of call fails by on a full or a broken disk. FAIL_LOG gets the line "failed CALL PATH";
 * where FAIL_AT is 0 and none fails, a line "NUMBER CALL PATH" for each. */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { MOST_FDS = 4096 };

static const char *under, *log_path;
static size_t under_length;
static int rank = -1, failing_rank, given_error;
static long fail_at;
static atomic_long calls;
static atomic_bool ours[MOST_FDS]; /* descriptors of counted files */

static void say(const char *format, ...) {
  char line[4096];
  va_list arguments;
  if (!log_path) return;
  va_start(arguments, format);
  const int length = vsnprintf(line, sizeof line, format, arguments);
  va_end(arguments);
  const long fd = syscall(SYS_openat, AT_FDCWD, log_path, O_WRONLY | O_CREAT | O_APPEND, 0666);
  if (fd < 0) return;
  (void)!syscall(SYS_write, fd, line, (size_t)length);
  syscall(SYS_close, fd);
}

__attribute__((constructor)) static void begin(void) {
  const char *text = getenv("OMPI_COMM_WORLD_RANK"), *error = getenv("FAIL_ERROR");
  under = getenv("FAIL_UNDER");
  if (!under) return;
  under_length = strlen(under);
  log_path = getenv("FAIL_LOG");
  rank = text ? atoi(text) : 0;
  text = getenv("FAIL_RANK");
  failing_rank = text ? atoi(text) : 0;
  text = getenv("FAIL_AT");
  fail_at = text ? atol(text) : 0;
  given_error = !error                         ? 0
                : strcmp(error, "ENOSPC") == 0 ? ENOSPC
                : strcmp(error, "ENOMEM") == 0 ? ENOMEM
                                               : EIO;
}

static bool is_ours(const char *path) {
  return under && rank == failing_rank && path && strncmp(path, under, under_length) == 0;
}
static bool is_ours_fd(int fd) {
  return fd >= 0 && fd < MOST_FDS && atomic_load(&ours[fd]);
}

/* Counts a call; true, with errno set, for the one that is to fail. */
static bool fails(const char *call, const char *path, int error) {
  const long number = atomic_fetch_add(&calls, 1) + 1;
  if (fail_at == 0) say("%ld %s %s\n", number, call, path);
  if (number != fail_at) return false;
  say("failed %s %s\n", call, path);
  errno = given_error ? given_error : error;
  return true;
}

static bool fails_fd(const char *call, int fd, int error) {
  char name[64], path[4096] = "?";
  if (!is_ours_fd(fd)) return false;
  if (fail_at == 0 || atomic_load(&calls) + 1 == fail_at) {
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    const ssize_t length = readlink(name, path, sizeof path - 1);
    path[length < 0 ? 0 : length] = 0;
  }
  return fails(call, path, error);
}

#define NEXT(name)                                                                                 \
  static __typeof__(&name) next;                                                                   \
  if (!next) next = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

/* ---- opening ---- */

static int opened(int fd, const char *path) {
  if (fd >= 0 && fd < MOST_FDS) atomic_store(&ours[fd], is_ours(path));
  return fd;
}

static int open_error(int flags) {
  return flags & O_CREAT ? ENOSPC : EIO;
}

#define OPEN(name)                                                                                 \
  int name(const char *path, int flags, ...) {                                                     \
    NEXT(name);                                                                                    \
    va_list arguments;                                                                             \
    va_start(arguments, flags);                                                                    \
    const mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(arguments, mode_t) : 0;           \
    va_end(arguments);                                                                             \
    if (is_ours(path) && fails(#name, path, open_error(flags))) return -1;                         \
    return opened(next(path, flags, mode), path);                                                  \
  }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                                               \
  int name(int folder, const char *path, int flags, ...) {                                         \
    NEXT(name);                                                                                    \
    va_list arguments;                                                                             \
    va_start(arguments, flags);                                                                    \
    const mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(arguments, mode_t) : 0;           \
    va_end(arguments);                                                                             \
    if (is_ours(path) && fails(#name, path, open_error(flags))) return -1;                         \
    return opened(next(folder, path, flags, mode), path);                                          \
  }
OPENAT(openat)
OPENAT(openat64)

#define FOPEN(name)                                                                                \
  FILE *name(const char *path, const char *mode) {                                                 \
    NEXT(name);                                                                                    \
    return is_ours(path) && fails(#name, path, EIO) ? NULL : next(path, mode);                     \
  }
FOPEN(fopen)
FOPEN(fopen64)

DIR *opendir(const char *path) {
  NEXT(opendir);
  return is_ours(path) && fails("opendir", path, EIO) ? NULL : next(path);
}

int close(int fd) {
  NEXT(close);
  if (fd >= 0 && fd < MOST_FDS) atomic_store(&ours[fd], false);
  return next(fd);
}

/* ---- content ---- */

ssize_t read(int fd, void *data, size_t bytes) {
  NEXT(read);
  return fails_fd("read", fd, EIO) ? -1 : next(fd, data, bytes);
}
ssize_t write(int fd, const void *data, size_t bytes) {
  NEXT(write);
  return fails_fd("write", fd, ENOSPC) ? -1 : next(fd, data, bytes);
}

#define PREAD(name)                                                                                \
  ssize_t name(int fd, void *data, size_t bytes, off_t at) {                                       \
    NEXT(name);                                                                                    \
    return fails_fd(#name, fd, EIO) ? -1 : next(fd, data, bytes, at);                              \
  }
PREAD(pread)
PREAD(pread64)

#define PWRITE(name)                                                                               \
  ssize_t name(int fd, const void *data, size_t bytes, off_t at) {                                 \
    NEXT(name);                                                                                    \
    return fails_fd(#name, fd, ENOSPC) ? -1 : next(fd, data, bytes, at);                           \
  }
PWRITE(pwrite)
PWRITE(pwrite64)

int fsync(int fd) {
  NEXT(fsync);
  return fails_fd("fsync", fd, EIO) ? -1 : next(fd);
}
int fdatasync(int fd) {
  NEXT(fdatasync);
  return fails_fd("fdatasync", fd, EIO) ? -1 : next(fd);
}
int ftruncate(int fd, off_t bytes) {
  NEXT(ftruncate);
  return fails_fd("ftruncate", fd, ENOSPC) ? -1 : next(fd, bytes);
}
int ftruncate64(int fd, off_t bytes) {
  NEXT(ftruncate64);
  return fails_fd("ftruncate64", fd, ENOSPC) ? -1 : next(fd, bytes);
}
int fallocate(int fd, int mode, off_t at, off_t bytes) {
  NEXT(fallocate);
  return fails_fd("fallocate", fd, ENOSPC) ? -1 : next(fd, mode, at, bytes);
}

#define MMAP(name)                                                                                 \
  void *name(void *address, size_t bytes, int protection, int flags, int fd, off_t at) {           \
    if (fails_fd(#name, fd, ENOMEM)) return MAP_FAILED;                                            \
    return (void *)syscall(SYS_mmap, address, bytes, protection, flags, fd, at);                   \
  }
MMAP(mmap)
MMAP(mmap64)

/* ---- names ---- */

int rename(const char *from, const char *to) {
  NEXT(rename);
  return is_ours(to) && fails("rename", to, EIO) ? -1 : next(from, to);
}
int renameat2(int old, const char *from, int new, const char *to, unsigned flags) {
  NEXT(renameat2);
  return is_ours(to) && fails("renameat2", to, EIO) ? -1 : next(old, from, new, to, flags);
}
int mkdir(const char *path, mode_t mode) {
  NEXT(mkdir);
  return is_ours(path) && fails("mkdir", path, ENOSPC) ? -1 : next(path, mode);
}
