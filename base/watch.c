#include "base/watch.h"

static sb_watcher the_watcher; /* all NULL: nobody */

void sb_watch(const sb_watcher *watcher) {
  the_watcher = watcher ? *watcher : (sb_watcher){0};
}

bool sb_watch_is_on(void) {
  return the_watcher.phase != 0;
}

void sb_watch_phase(const char *name, bool begins, double seconds) {
  if (the_watcher.phase) the_watcher.phase(the_watcher.context, name, begins, seconds);
}

void sb_watch_progress(const char *title, double share, double seconds, double left) {
  if (the_watcher.progress) the_watcher.progress(the_watcher.context, title, share, seconds, left);
}

void sb_watch_warning(const char *text) {
  if (the_watcher.warning) the_watcher.warning(the_watcher.context, text);
}
