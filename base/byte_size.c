#include "base/byte_size.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "base/text.h"

static const struct {
  const char *name;
  double bytes;
} units[] = {{"GiB", 0x1p30}, {"GB", 1e9}, {"MiB", 0x1p20}, {"MB", 1e6}};
enum { UNITS = sizeof units / sizeof *units };

static const double TOO_MANY = 0x1p53; /* whole numbers below are doubles */

static int find(const char *name) {
  for (int i = 0; i < UNITS; i++)
    if (strcasecmp(units[i].name, name) == 0) return i;
  return -1;
}

bool sb_byte_size_read(const char *text, sb_byte_size *out) {
  char *end;
  if (text[0] < '0' || text[0] > '9') return false; /* no sign, no blank, no nan */
  const double number = strtod(text, &end);
  const int unit = find(end + (*end == ' '));
  if (unit < 0) return false;
  const double bytes = round(number * units[unit].bytes);
  if (!(bytes >= 1.0 && bytes < TOO_MANY)) return false;
  *out = (sb_byte_size){(uint64_t)bytes, units[unit].name};
  return true;
}

char *sb_byte_size_text(char *text, size_t size, uint64_t bytes, const char *unit) {
  sb_byte_size read;
  for (int digits = 3; digits <= 17; digits++) {
    snprintf(text, size, "%.*g%s", digits, (double)bytes / units[find(unit)].bytes, unit);
    if (sb_byte_size_read(text, &read) && read.bytes == bytes) break;
  }
  return text;
}

char *sb_byte_size_limit(char *text, size_t size, uint64_t bytes, const char *unit, bool least) {
  char number[SB_TEXT_SIZE];
  sb_text_limit(number, sizeof number, (double)bytes / units[find(unit)].bytes, least);
  snprintf(text, size, "%s%s", number, unit);
  return text;
}
