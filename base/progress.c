#include "base/progress.h"

#include <math.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "base/watch.h"

enum { EVENT_SECONDS = 10 }; /* from one to the next of a phase */

static struct {
  char title[64];
  double total, start;
  double last; /* time of the last line on the terminal; negative: none */
  double told; /* the same of what a watcher was told */
  bool speaks, terminal;
} phase;

/* Of the process: phases may all be short. */
static double first_phase, last_line = -1.0;
static bool begun;

bool sb_progress_due(bool terminal, double elapsed, double last) {
  if (terminal) return last < 0.0 ? elapsed >= 0.5 : elapsed - last >= 0.2;
  return elapsed - (last < 0.0 ? 0.0 : last) >= SB_PROGRESS_LINE_SECONDS;
}

void sb_progress_format(char *text, size_t size, const char *title, double done, double total,
                        double elapsed) {
  char spent[SB_TEXT_SIZE], left[SB_TEXT_SIZE];
  sb_text_seconds(spent, sizeof spent, elapsed);
  if (!(total > 0.0)) {
    snprintf(text, size, "%s  %s", title, spent);
    return;
  }
  double share = done < 0.0 ? 0.0 : done > total ? 1.0 : done / total;
  if (share > 0.0)
    snprintf(text, size, "%s  %.0f%%  %s, %s to go", title, 100.0 * share, spent,
             sb_text_seconds(left, sizeof left, elapsed / share - elapsed));
  else
    snprintf(text, size, "%s  0%%  %s", title, spent);
}

void sb_progress_begin(const char *title, double total) {
  snprintf(phase.title, sizeof phase.title, "%s", title);
  phase.total = total;
  phase.start = sb_now();
  phase.last = -1.0;
  phase.told = phase.start;
  phase.speaks = sb_log_speaks();
  phase.terminal = phase.speaks && isatty(fileno(sb_log_stream())) == 1;
  if (!begun) first_phase = phase.start;
  begun = true;
}

static void tell(double now, double done) {
  const double share = phase.total > 0.0 ? done / phase.total : NAN;
  const double elapsed = now - phase.start;
  if (now - phase.told < EVENT_SECONDS) return;
  phase.told = now;
  sb_watch_progress(phase.title, share, elapsed, share > 0.0 ? elapsed / share - elapsed : NAN);
}

static void show(double now, double done) {
  const double elapsed = now - phase.start;
  char text[160];
  if (phase.terminal ? !sb_progress_due(true, elapsed, phase.last)
                     : !sb_progress_due(false, now - first_phase, last_line))
    return;
  phase.last = elapsed;
  last_line = now - first_phase;
  sb_progress_format(text, sizeof text, phase.title, done, phase.total, elapsed);
  if (phase.terminal)
    sb_log_transient(text);
  else
    sb_log_line("%s", text);
}

void sb_progress_step(double done) {
  const double now = sb_now();
  if (phase.title[0] == 0) return;
  tell(now, done);
  if (phase.speaks) show(now, done);
}

static void step(void *context, double done) {
  (void)context;
  sb_progress_step(done);
}

sb_ticker sb_progress_ticker(void) {
  return (sb_ticker){step, NULL};
}

void sb_progress_end(void) {
  if (phase.speaks && phase.terminal) sb_log_transient("");
  phase.speaks = false;
  phase.title[0] = 0;
}
