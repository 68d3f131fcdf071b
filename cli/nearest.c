#include "cli/nearest.h"

#include <stdbool.h>
#include <string.h>

enum { LONGEST = 40 };

static size_t smaller(size_t a, size_t b) {
  return a < b ? a : b;
}

/* Optimal string alignment, three rows of the table at a time. */
static size_t distance(const char *a, size_t na, const char *b, size_t nb) {
  size_t rows[3][LONGEST + 1];
  for (size_t j = 0; j <= nb; j++) rows[0][j] = j;
  for (size_t i = 1; i <= na; i++) {
    size_t *now = rows[i % 3], *before = rows[(i + 2) % 3], *earlier = rows[(i + 1) % 3];
    now[0] = i;
    for (size_t j = 1; j <= nb; j++) {
      now[j] = smaller(smaller(now[j - 1], before[j]) + 1, before[j - 1] + (a[i - 1] != b[j - 1]));
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        now[j] = smaller(now[j], earlier[j - 2] + 1);
    }
  }
  return rows[na % 3][nb];
}

const char *sb_nearest(const char *text, const char *const *words, size_t count) {
  const char *best = NULL;
  size_t best_distance = 4, length = strlen(text);
  if (length > LONGEST) return NULL;
  for (size_t i = 0; i < count; i++) {
    size_t n = strlen(words[i]);
    if (n > LONGEST) continue;
    bool begins = length >= 3 && n >= 3 && strncmp(text, words[i], n < length ? n : length) == 0;
    size_t d = begins ? 1 : distance(text, length, words[i], n);
    if (d < best_distance && d <= ((n > length ? n : length) + 2) / 3) {
      best = words[i];
      best_distance = d;
    }
  }
  return best;
}
