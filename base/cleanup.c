#include "base/cleanup.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { FREE, WRITING, SET };

typedef struct entry {
  atomic_int state;
  size_t length;
  char path[PATH_MAX];
} entry;

typedef struct speech {
  char text[2][1024]; /* for SIGINT, SIGTERM */
  size_t length[2];
} speech;

static entry entries[SB_CLEANUP_SLOTS];
static speech speeches[2]; /* the one not in use is rewritten, then chosen */
static atomic_int chosen;
static atomic_bool leaving;
static atomic_bool speaks;
static atomic_bool held;     /* sb_cleanup_hold */
static atomic_int postponed; /* the signal that came meanwhile, 0 for none */
static char complete[1024];  /* sb_cleanup_completed */

/* Async-signal-safe. Files, then folders from the longest path to the shortest. */
static void remove_all(void) {
  bool folder[SB_CLEANUP_SLOTS];
  for (int i = 0; i < SB_CLEANUP_SLOTS; i++) {
    folder[i] = false;
    if (atomic_load(&entries[i].state) != SET) continue;
    if (unlink(entries[i].path) != 0 && (errno == EISDIR || errno == EPERM)) folder[i] = true;
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

static void on_signal(int number) {
  const int saved = errno;
  const speech *say = &speeches[atomic_load(&chosen)];
  const int which = number == SIGTERM;
  /* Another thread is already on its way out: leave the rest to it. */
  if (atomic_exchange(&leaving, true))
    for (;;) pause();
  if (atomic_load(
          &held)) { /* asked after `leaving` is set: sb_cleanup_hold looks the other way round */
    atomic_store(&postponed, number);
    atomic_store(&leaving, false);
    return;
  }
  remove_all();
  if (atomic_load(&speaks)) {
    ssize_t written = write(STDERR_FILENO, say->text[which], say->length[which]);
    (void)written;
  }
  errno = saved;
  _exit(128 + number);
}

void sb_cleanup_message(const char *message) {
  static const char *const names[2] = {"SIGINT", "SIGTERM"};
  const int next = !atomic_load(&chosen);
  speech *say = &speeches[next];
  for (int i = 0; i < 2; i++) {
    int n = snprintf(say->text[i], sizeof say->text[i] - 1, "shardbits: interrupted by %s; %s",
                     names[i], message);
    size_t length = n < 0 ? 0 : (size_t)n;
    if (length > sizeof say->text[i] - 2) length = sizeof say->text[i] - 2;
    say->text[i][length] = '\n';
    say->length[i] = length + 1;
  }
  atomic_store(&chosen, next);
}

sb_status sb_cleanup_install(int rank, const char *message) {
  static const int signals[2] = {SIGINT, SIGTERM};
  struct sigaction action = {.sa_handler = on_signal};
  sigemptyset(&action.sa_mask);
  for (int i = 0; i < 2; i++) sigaddset(&action.sa_mask, signals[i]);
  sb_cleanup_message(message);
  atomic_store(&speaks, rank == 0);
  for (int i = 0; i < 2; i++)
    if (sigaction(signals[i], &action, NULL) != 0)
      return sb_fail(SB_ERR_INTERNAL, "signal %d: the handler could not be installed: %s",
                     signals[i], strerror(errno));
  return SB_OK;
}

sb_status sb_cleanup_add(const char *path, int *slot) {
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
    atomic_store(&entries[i].state, SET);
    *slot = i;
    return SB_OK;
  }
  return sb_fail(SB_ERR_INTERNAL,
                 "%s: more than %d unfinished files and folders are registered for removal", path,
                 SB_CLEANUP_SLOTS);
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
  snprintf(complete, sizeof complete, "; %.900s is complete", path);
  sb_cleanup_message(complete + 2);
}

const char *sb_cleanup_completed(void) {
  return complete;
}

void sb_cleanup_now(void) {
  remove_all();
  for (int i = 0; i < SB_CLEANUP_SLOTS; i++) sb_cleanup_drop(i);
}
