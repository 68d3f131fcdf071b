#include "base/cleanup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/text.h"

enum { FREE, WRITING, SET };
enum { DEEPEST = 64, ENTRIES = 4096, MESSAGE = 1024 };

typedef struct entry {
  atomic_int state;
  bool tree;
  size_t length;
  char path[PATH_MAX];
} entry;

static entry entries[SB_CLEANUP_SLOTS];
static char messages[2][MESSAGE]; /* the one not in use is rewritten, then chosen */
static atomic_int chosen;
static atomic_bool leaving;
static atomic_bool speaks;
static atomic_bool held;     /* sb_cleanup_hold */
static atomic_int postponed; /* the signal that came meanwhile, 0 for none */
static char complete[MESSAGE];

/* Signals that end a process by default, and those that tell of a crash. */
static const struct {
  int number;
  const char *name;
} ends[] = {{SIGINT, "SIGINT"},      {SIGTERM, "SIGTERM"}, {SIGHUP, "SIGHUP"},
            {SIGQUIT, "SIGQUIT"},    {SIGXCPU, "SIGXCPU"}, {SIGALRM, "SIGALRM"},
            {SIGUSR1, "SIGUSR1"},    {SIGUSR2, "SIGUSR2"}, {SIGVTALRM, "SIGVTALRM"},
            {SIGPROF, "SIGPROF"},    {SIGPOLL, "SIGPOLL"}, {SIGPWR, "SIGPWR"},
            {SIGSTKFLT, "SIGSTKFLT"}};
static const int crashes[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGSYS, SIGTRAP};
enum { ENDS = sizeof ends / sizeof *ends, CRASHES = sizeof crashes / sizeof *crashes };
static struct sigaction before[CRASHES];

/* ---- removing, async-signal-safe ---- */

/* As getdents64 writes it; glibc's own type needs memory of the heap. */
typedef struct name_entry {
  uint64_t inode;
  int64_t offset;
  unsigned short bytes;
  unsigned char type;
  char name[];
} name_entry;

/* Where a walk is: how deep, and on which file system. It does not leave that one: a mounted
 * folder's content belongs to somebody else. */
typedef struct level {
  int depth;
  dev_t device;
} level;

static int remove_below(int parent, const char *name, level at);

/* One pass over an open folder. *removed: something went, so the position that the next read starts
 * from may have moved. */
static int remove_entries(int folder, level below, bool *removed) {
  _Alignas(name_entry) char buffer[ENTRIES];
  long bytes;
  int failed = 0;
  *removed = false;
  while ((bytes = syscall(SYS_getdents64, folder, buffer, sizeof buffer)) > 0)
    for (long at = 0; at < bytes;) {
      const name_entry *e = (const void *)(buffer + at);
      at += e->bytes;
      if (strcmp(e->name, ".") == 0 || strcmp(e->name, "..") == 0) continue;
      const int error = remove_below(folder, e->name, below);
      if (error == 0) *removed = true;
      if (error != 0) failed = error;
    }
  return bytes < 0 ? errno : failed;
}

static int remove_below(int parent, const char *name, level at) {
  if (unlinkat(parent, name, 0) == 0 || errno == ENOENT) return 0;
  if (errno != EISDIR && errno != EPERM) return errno;
  if (at.depth == DEEPEST) return ELOOP;
  const int refused = errno;
  const int folder = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (folder < 0) return errno == ENOTDIR ? refused : errno == ENOENT ? 0 : errno;
  struct stat info;
  int failed = fstat(folder, &info) != 0 ? errno : 0;
  if (at.depth > 0 && info.st_dev != at.device) failed = EXDEV;
  for (bool removed = failed == 0; removed;) {
    failed = remove_entries(folder, (level){at.depth + 1, info.st_dev}, &removed);
    (void)lseek(folder, 0, SEEK_SET);
  }
  close(folder);
  if (unlinkat(parent, name, AT_REMOVEDIR) == 0 || errno == ENOENT) return 0;
  return failed ? failed : errno;
}

int sb_cleanup_remove_tree(const char *path) {
  return remove_below(AT_FDCWD, path, (level){0, 0});
}

/* Files and trees, then folders from the longest path to the shortest. */
static void remove_all(void) {
  bool folder[SB_CLEANUP_SLOTS];
  for (int i = 0; i < SB_CLEANUP_SLOTS; i++) {
    folder[i] = false;
    if (atomic_load(&entries[i].state) != SET) continue;
    if (entries[i].tree)
      (void)sb_cleanup_remove_tree(entries[i].path);
    else if (unlink(entries[i].path) != 0 && (errno == EISDIR || errno == EPERM))
      folder[i] = true;
  }
  for (;;) {
    int longest = -1;
    for (int i = 0; i < SB_CLEANUP_SLOTS; i++)
      if (folder[i] && (longest < 0 || entries[i].length > entries[longest].length)) longest = i;
    if (longest < 0) return;
    folder[longest] = false;
    (void)rmdir(entries[longest].path);
  }
}

/* ---- signals ---- */

static void append(char *line, size_t room, size_t *n, const char *text) {
  const size_t length = strlen(text), fits = length < room - *n ? length : room - *n;
  memcpy(line + *n, text, fits);
  *n += fits;
}

static void say(int number) {
  char line[MESSAGE + 64];
  size_t n = 0;
  const char *name = "a signal";
  for (int i = 0; i < ENDS; i++)
    if (ends[i].number == number) name = ends[i].name;
  append(line, sizeof line - 1, &n, "shardbits: interrupted by ");
  append(line, sizeof line - 1, &n, name);
  append(line, sizeof line - 1, &n, "; ");
  append(line, sizeof line - 1, &n, messages[atomic_load(&chosen)]);
  line[n++] = '\n';
  const ssize_t written = write(STDERR_FILENO, line, n);
  (void)written;
}

static void on_end(int number) {
  /* Another thread is already on its way out: leave the rest to it. */
  if (atomic_exchange(&leaving, true))
    for (;;) pause();
  /* asked after `leaving` is set: sb_cleanup_hold looks the other way round */
  if (atomic_load(&held)) {
    atomic_store(&postponed, number);
    atomic_store(&leaving, false);
    return;
  }
  remove_all();
  if (atomic_load(&speaks)) say(number);
  _exit(128 + number);
}

/* Whoever had the signal before, or the system, tells of the crash. */
static void on_crash(int number) {
  const int saved = errno;
  if (!atomic_exchange(&leaving, true)) remove_all();
  for (int i = 0; i < CRASHES; i++)
    if (crashes[i] == number) (void)sigaction(number, &before[i], NULL);
  errno = saved;
  (void)raise(number); /* blocked until this handler returns */
}

void sb_cleanup_message(const char *message) {
  const int next = !atomic_load(&chosen);
  sb_text_escaped(messages[next], sizeof messages[next], message);
  atomic_store(&chosen, next);
}

/* Installs a handler where the signal would otherwise end the process, or, with `always`, in any
 * case. */
static sb_status install(int number, void (*handler)(int), bool always, struct sigaction *old) {
  struct sigaction action = {.sa_handler = handler}, now;
  sigemptyset(&action.sa_mask);
  if (handler == on_end)
    for (int i = 0; i < ENDS; i++) sigaddset(&action.sa_mask, ends[i].number);
  if (sigaction(number, NULL, &now) == 0 && !always && now.sa_handler == SIG_IGN) return SB_OK;
  if (handler == on_end && !always && now.sa_handler != SIG_DFL) return SB_OK;
  if (sigaction(number, &action, old) != 0)
    return sb_fail(SB_ERR_INTERNAL, "signal %d: the handler could not be installed: %s", number,
                   strerror(errno));
  return SB_OK;
}

sb_status sb_cleanup_install(int rank, const char *message) {
  sb_cleanup_message(message);
  atomic_store(&speaks, rank == 0);
  for (int i = 0; i < ENDS; i++)
    SB_TRY(install(ends[i].number, on_end, ends[i].number == SIGINT || ends[i].number == SIGTERM,
                   NULL));
  for (int number = SIGRTMIN; number <= SIGRTMAX; number++)
    SB_TRY(install(number, on_end, false, NULL));
  for (int i = 0; i < CRASHES; i++) SB_TRY(install(crashes[i], on_crash, false, &before[i]));
  SB_TRY(install(SIGPIPE, SIG_IGN, true, NULL));
  return install(SIGXFSZ, SIG_IGN, true, NULL);
}

/* ---- the register ---- */

static sb_status add(const char *path, bool tree, int *slot) {
  const size_t length = strlen(path);
  *slot = -1;
  if (length >= PATH_MAX)
    return sb_fail(SB_ERR_RANGE, "%.60s...: the path has %zu bytes, the limit is %d", path, length,
                   PATH_MAX - 1);
  for (int i = 0; i < SB_CLEANUP_SLOTS; i++) {
    int expected = FREE;
    if (!atomic_compare_exchange_strong(&entries[i].state, &expected, WRITING)) continue;
    memcpy(entries[i].path, path, length + 1);
    entries[i].length = length;
    entries[i].tree = tree;
    atomic_store(&entries[i].state, SET);
    *slot = i;
    return SB_OK;
  }
  return sb_fail(SB_ERR_INTERNAL,
                 "%s: more than %d unfinished files and folders are registered for removal", path,
                 SB_CLEANUP_SLOTS);
}

sb_status sb_cleanup_add(const char *path, int *slot) {
  return add(path, false, slot);
}

sb_status sb_cleanup_add_tree(const char *path, int *slot) {
  return add(path, true, slot);
}

void sb_cleanup_drop(int slot) {
  if (slot >= 0 && slot < SB_CLEANUP_SLOTS) atomic_store(&entries[slot].state, FREE);
}

void sb_cleanup_hold(void) {
  atomic_store(&held, true);
  while (atomic_load(&leaving))
    usleep(1000); /* the handler, in another thread, ends the process or gives way */
}

void sb_cleanup_release(void) {
  atomic_store(&held, false);
  const int number = atomic_exchange(&postponed, 0);
  if (number) raise(number);
}

void sb_cleanup_complete(const char *path) {
  char shown[MESSAGE - 64];
  snprintf(complete, sizeof complete, "; %s is complete",
           sb_text_escaped(shown, sizeof shown, path));
  sb_cleanup_message(complete + 2);
}

const char *sb_cleanup_completed(void) {
  return complete;
}

void sb_cleanup_now(void) {
  remove_all();
  for (int i = 0; i < SB_CLEANUP_SLOTS; i++) sb_cleanup_drop(i);
}
