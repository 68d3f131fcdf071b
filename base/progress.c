#include "base/progress.h"

#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"

static struct {
  char title[64];
  double total, start, last;
  bool open, terminal;
} phase;

bool sb_progress_due(bool terminal, double elapsed, double last) {
  if (terminal) return last < 0.0 ? elapsed >= 0.5 : elapsed - last >= 0.2;
  return last < 0.0 ? elapsed >= 5.0 : elapsed - last >= 10.0;
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
  phase.open = sb_log_speaks();
  phase.terminal = phase.open && isatty(fileno(sb_log_stream())) == 1;
}

void sb_progress_step(double done) {
  if (!phase.open) return;
  double elapsed = sb_now() - phase.start;
  if (!sb_progress_due(phase.terminal, elapsed, phase.last)) return;
  phase.last = elapsed;
  char text[160];
  sb_progress_format(text, sizeof text, phase.title, done, phase.total, elapsed);
  if (phase.terminal)
    sb_log_transient(text);
  else
    sb_log_line("%s", text);
}

static void step(void *context, double done) {
  (void)context;
  sb_progress_step(done);
}

sb_ticker sb_progress_ticker(void) {
  return (sb_ticker){step, NULL};
}

void sb_progress_end(void) {
  if (phase.open && phase.terminal) sb_log_transient("");
  phase.open = false;
}
