/* Progress of a long phase, and the time that it will still take. The process that speaks
 * (base/log.h) writes it: on a terminal as one line that rewrites itself, elsewhere as a plain line
 * a minute, whatever the phases are. A watcher (base/watch.h) is told every 10 s of a phase. One
 * phase at a time; local, one thread. Calls are cheap enough for every sequence and layer, not for
 * every block. */
#ifndef SB_BASE_PROGRESS_H
#define SB_BASE_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/ticker.h"

/* Begins a phase of `total` units of the caller's (0: unknown, then neither percentage nor
 * remaining time is shown). `title` is copied. */
void sb_progress_begin(const char *title, double total);
/* `done` of the `total` units are finished. */
void sb_progress_step(double done);
/* A listener for passes and phases (base/ticker.h) that calls sb_progress_step: begin with a total
 * of 1. */
sb_ticker sb_progress_ticker(void);
/* Wipes the line. The phase line of sb_log_phase says the rest. */
void sb_progress_end(void);

/* The line itself: "score  42%  21 s, 29 s to go". Pure. */
void sb_progress_format(char *text, size_t size, const char *title, double done, double total,
                        double elapsed);
enum { SB_PROGRESS_LINE_SECONDS = 60 };
/* Whether a line is due at `elapsed` seconds when the last was written at `last` (negative: none
 * yet): on a terminal both since the phase began, elsewhere since the first phase of the process.
 * Pure. */
bool sb_progress_due(bool terminal, double elapsed, double last);

#endif
