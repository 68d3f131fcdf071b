#include "base/text.h"

#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

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

bool sb_text_ends(const char *text, const char *end) {
  const size_t length = strlen(text), tail = strlen(end);
  return length >= tail && strcmp(text + length - tail, end) == 0;
}

double sb_text_limit(char *text, size_t size, double limit, bool least) {
  const double unit = pow(10.0, floor(log10(limit)) - 3);
  double shown = limit;
  for (;;) {
    snprintf(text, size, "%.4g", shown);
    const double read = strtod(text, NULL);
    if (least ? read >= limit : read <= limit) return read;
    shown = read + (least ? unit : -unit);
  }
}

char *sb_text_real(char *text, size_t size, double value) {
  if (fabs(value) < 1e16 && value == floor(value)) { /* not 1e+03 */
    snprintf(text, size, "%.0f", value);
    return text;
  }
  for (int digits = 1; digits <= 17; digits++) {
    snprintf(text, size, "%.*g", digits, value);
    if (strtod(text, NULL) == value) break;
  }
  return text;
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

/* ---- text of others ---- */

enum { SHOWN = 8, LINE = 16384 }; /* the longest form of a character, and its zero: \u202e */

/* Length of the UTF-8 character at `s`, and its number; 0 where the bytes are none. The zero that
 * ends the text is no continuation byte, so nothing beyond it is read. */
static size_t decode(const unsigned char *s, uint32_t *code) {
  static const uint32_t least[5] = {0, 0, 0x80, 0x800, 0x10000};
  if (s[0] < 0x80) {
    *code = s[0];
    return 1;
  }
  const size_t length = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
  if (s[0] < 0xc0 || s[0] > 0xf4) return 0;
  *code = s[0] & (0x7fu >> length);
  for (size_t i = 1; i < length; i++) {
    if ((s[i] & 0xc0) != 0x80) return 0;
    *code = *code << 6 | (s[i] & 0x3fu);
  }
  if (*code < least[length] || *code > 0x10ffff || (*code >= 0xd800 && *code < 0xe000)) return 0;
  return length;
}

static bool is_control(uint32_t code) {
  return code < 0x20 || (code >= 0x7f && code < 0xa0) || code == 0x61c || code == 0x200e ||
         code == 0x200f || (code >= 0x2028 && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069);
}

/* Takes one character from *from and writes its form. Returns the form's length. */
static size_t show(const char **from, char form[SHOWN]) {
  const unsigned char *s = (const unsigned char *)*from;
  const char *named = strchr("\nn\rr\tt", s[0]);
  uint32_t code = 0;
  const size_t length = decode(s, &code);
  *from += length ? length : 1;
  if (s[0] < 0x20 && named) return (size_t)snprintf(form, SHOWN, "\\%c", named[1]);
  if (!length || (s[0] < 0x80 && is_control(code)))
    return (size_t)snprintf(form, SHOWN, "\\x%02x", (unsigned)s[0]);
  if (is_control(code)) return (size_t)snprintf(form, SHOWN, "\\u%04x", (unsigned)code);
  memcpy(form, s, length);
  return length;
}

char *sb_text_escaped(char *text, size_t size, const char *from) {
  static const char cut[] = "...";
  size_t n = 0, fits = 0; /* fits: what may stay where the rest is cut */
  char form[SHOWN];
  if (size == 0) return text;
  while (*from) {
    const size_t length = show(&from, form);
    if (n + length >= size) {
      n = fits;
      const size_t dots = size - 1 - n < sizeof cut - 1 ? size - 1 - n : sizeof cut - 1;
      memcpy(text + n, cut, dots);
      n += dots;
      break;
    }
    memcpy(text + n, form, length);
    n += length;
    if (n + sizeof cut <= size) fits = n;
  }
  text[n] = 0;
  return text;
}

void sb_text_print(FILE *out, const char *format, ...) {
  char text[LINE], shown[LINE];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  fprintf(out, "%s\n", sb_text_escaped(shown, sizeof shown, text));
}
