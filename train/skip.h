/* Skipping of a step whose loss or gradient norm stands far above those of the last steps.
 *
 * The score of a value x is `(x - mean) / deviation` over the last `window` values before it; there
 * is none until that many have been seen. Every value enters the window, skipped or not, so a level
 * that has risen for good stops being skipped. (llm.c's rule, but for x itself, which it counts
 * among the window.) Pure but for the window; local. */
#ifndef SB_TRAIN_SKIP_H
#define SB_TRAIN_SKIP_H

#include <stddef.h>
#include <stdint.h>

enum { SB_SKIP_WINDOW = 128 };

/* The last values of a run, oldest first from next % SB_SKIP_WINDOW: plain data, for states. */
typedef struct sb_skip_window {
  double values[SB_SKIP_WINDOW];
  uint64_t count; /* of all values so far: the next one goes to place count % SB_SKIP_WINDOW */
} sb_skip_window;

/* The score of x before it enters; NaN while the window is not full, or x is no number. Where all
 * values are equal, a different x has an infinite score. O(window). */
double sb_skip_score(const sb_skip_window *window, double x);
/* Enters x, a number. O(1). */
void sb_skip_enter(sb_skip_window *window, double x);

#endif
