#include "base/phases.h"

#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/watch.h"

typedef struct entry {
  sb_phase_figures figures;
  double begin;
  int open; /* how many of that name are; the outermost is timed */
} entry;

static entry table[SB_PHASES_MOST];
static size_t count;

int sb_phases_begin(const char *name, double now) {
  size_t i = 0;
  while (i < count && strcmp(table[i].figures.name, name) != 0) i++;
  if (i == SB_PHASES_MOST) return -1;
  if (i == count) table[count++] = (entry){.figures.name = name};
  if (table[i].open++ == 0) {
    table[i].begin = now;
    sb_watch_phase(name, true, 0);
  }
  return (int)i;
}

void sb_phases_end(int number, double now) {
  if (number < 0 || --table[number].open > 0) return;
  table[number].figures.seconds += now - table[number].begin;
  table[number].figures.peak = sb_peak_resident();
  sb_watch_phase(table[number].figures.name, false, now - table[number].begin);
}

size_t sb_phases_read(sb_phase_figures out[SB_PHASES_MOST]) {
  for (size_t i = 0; i < count; i++) {
    out[i] = table[i].figures;
    if (table[i].open == 0) continue;
    out[i].seconds += sb_now() - table[i].begin;
    out[i].peak = sb_peak_resident();
  }
  return count;
}
