/* Who follows the run of this process from within: told of phases, progress and warnings as they
 * come, whether the log speaks or not. A process has at most one watcher, as it has one log.
 * Without one the calls do nothing. Local, main thread only. */
#ifndef SB_BASE_WATCH_H
#define SB_BASE_WATCH_H

#include <stdbool.h>

typedef struct sb_watcher {
  void *context;
  /* A phase (SB_PHASE of base/trace.h) begins, or ends after `seconds`. */
  void (*phase)(void *context, const char *name, bool begins, double seconds);
  /* Of what base/progress.h shows: the share done in [0, 1], seconds since it began, and seconds
   * that are left; NaN: unknown. */
  void (*progress)(void *context, const char *title, double share, double seconds, double left);
  void (*warning)(void *context, const char *text);
} sb_watcher;

/* From here on *watcher, which is copied; NULL: nobody. */
void sb_watch(const sb_watcher *watcher);
bool sb_watch_is_on(void);

/* For base/phases.c, base/progress.c and base/log.c. */
void sb_watch_phase(const char *name, bool begins, double seconds);
void sb_watch_progress(const char *title, double share, double seconds, double left);
void sb_watch_warning(const char *text);

#endif
