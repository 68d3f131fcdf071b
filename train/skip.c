#include "train/skip.h"

#include <math.h>

double sb_skip_score(const sb_skip_window *w, double x) {
  double sum = 0, squares = 0;
  if (w->count < SB_SKIP_WINDOW || !isfinite(x)) return NAN;
  for (size_t i = 0; i < SB_SKIP_WINDOW; i++) sum += w->values[i];
  const double mean = sum / SB_SKIP_WINDOW;
  for (size_t i = 0; i < SB_SKIP_WINDOW; i++)
    squares += (w->values[i] - mean) * (w->values[i] - mean);
  const double deviation = sqrt(squares / SB_SKIP_WINDOW);
  return x == mean ? 0 : (x - mean) / deviation;
}

void sb_skip_enter(sb_skip_window *w, double x) {
  w->values[w->count++ % SB_SKIP_WINDOW] = x;
}
