#include "base/text.h"

#include <math.h>
#include <stdio.h>

/* Three significant digits at most, and never "1024 KiB" where "1.00 MiB" is meant. */
static char *scaled(char *text, size_t size, double value, double step, const char *const *units,
                    int count) {
  int unit = 0;
  while (unit + 1 < count && fabs(value) >= step - 0.5) {
    value /= step;
    unit++;
  }
  int digits = unit == 0 || fabs(value) >= 99.95 ? 0 : fabs(value) >= 9.995 ? 1 : 2;
  snprintf(text, size, "%.*f%s", digits, value, units[unit]);
  return text;
}

char *sb_text_bytes(char *text, size_t size, double bytes) {
  static const char *const units[] = {" B", " KiB", " MiB", " GiB", " TiB", " PiB"};
  return scaled(text, size, bytes, 1024.0, units, 6);
}

char *sb_text_count(char *text, size_t size, double count) {
  static const char *const units[] = {"", " k", " M", " G", " T", " P", " E"};
  return scaled(text, size, count, 1000.0, units, 7);
}

char *sb_text_seconds(char *text, size_t size, double seconds) {
  if (!(seconds < 3.6e9)) {
    snprintf(text, size, "unknown");
  } else if (seconds < 9.995) {
    snprintf(text, size, "%.2f s", seconds);
  } else if (seconds < 59.95) {
    snprintf(text, size, "%.1f s", seconds);
  } else if (seconds < 3599.5) {
    long whole = lround(seconds);
    snprintf(text, size, "%ld min %02ld s", whole / 60, whole % 60);
  } else {
    long minutes = lround(seconds / 60.0);
    snprintf(text, size, "%ld h %02ld min", minutes / 60, minutes % 60);
  }
  return text;
}
