#include "io/json_scan.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

void sb_json_scan_begin(sb_json_scan *s, const char *path, const char *part, char *text,
                        size_t bytes) {
  *s = (sb_json_scan){path, part, text, text + bytes, text, 1};
  if (bytes >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) s->at += 3;
}

sb_status sb_json_scan_wrong(const sb_json_scan *s, const char *why) {
  return sb_fail(
      SB_ERR_FORMAT,
      "%s%s%s: is not valid JSON (%s at line %zu, column %zu); is it whole, and the right file?",
      s->path, *s->part ? ": " : "", s->part, why, s->line, (size_t)(s->at - s->line_begin) + 1);
}

static void skip_space(sb_json_scan *s) {
  for (;; s->at++) {
    const char c = *s->at;
    if (c == '\n') {
      s->line++;
      s->line_begin = s->at + 1;
    } else if (c != ' ' && c != '\t' && c != '\r') {
      return;
    }
  }
}

sb_status sb_json_scan_end(sb_json_scan *s) {
  skip_space(s);
  return s->at == s->end ? SB_OK : sb_json_scan_wrong(s, "something follows the value");
}

static bool digit(char c) {
  return c >= '0' && c <= '9';
}

sb_json_kind sb_json_scan_kind(sb_json_scan *s) {
  skip_space(s);
  switch (*s->at) {
  case '{':
    return SB_JSON_OBJECT;
  case '[':
    return SB_JSON_ARRAY;
  case '"':
    return SB_JSON_STRING;
  case 't':
    return SB_JSON_TRUE;
  case 'f':
    return SB_JSON_FALSE;
  case 'n':
    return SB_JSON_NULL;
  case '-':
  case 'N':
  case 'I':
    return SB_JSON_NUMBER;
  default:
    return digit(*s->at) ? SB_JSON_NUMBER : SB_JSON_NOTHING;
  }
}

/* ---- arrays and objects ---- */

sb_status sb_json_scan_enter(sb_json_scan *s, char open) {
  skip_space(s);
  if (*s->at != open) return sb_json_scan_wrong(s, open == '{' ? "no {" : "no [");
  s->at++;
  return SB_OK;
}

sb_status sb_json_scan_next(sb_json_scan *s, char close, bool *first, bool *more,
                            const char **key) {
  skip_space(s);
  *more = *s->at != close;
  if (!*more) {
    s->at++;
    return SB_OK;
  }
  if (!*first) {
    if (*s->at != ',') return sb_json_scan_wrong(s, close == '}' ? "no , or }" : "no , or ]");
    s->at++;
  }
  *first = false;
  if (close == ']') return SB_OK;
  if (sb_json_scan_kind(s) != SB_JSON_STRING) return sb_json_scan_wrong(s, "no \"key\"");
  SB_TRY(sb_json_scan_string(s, key));
  skip_space(s);
  if (*s->at != ':') return sb_json_scan_wrong(s, "no : behind a key");
  s->at++;
  return SB_OK;
}

/* ---- strings ---- */

enum { REPLACEMENT = 0xfffd }; /* for what no C string, or no UTF-8, can hold */

/* Four hexadecimal digits at `from`, or -1. */
static long hex4(const char *from) {
  long value = 0;
  for (int i = 0; i < 4; i++) {
    const char c = from[i];
    const int v = digit(c)               ? c - '0'
                  : c >= 'a' && c <= 'f' ? c - 'a' + 10
                  : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                         : -1;
    if (v < 0) return -1;
    value = value * 16 + v;
  }
  return value;
}

/* Writes a code point; it takes no more bytes than the escape that it was. */
static char *put_utf8(char *out, long c) {
  if (c < 0x80) {
    *out++ = (char)c;
  } else if (c < 0x800) {
    *out++ = (char)(0xc0 | c >> 6);
    *out++ = (char)(0x80 | (c & 0x3f));
  } else if (c < 0x10000) {
    *out++ = (char)(0xe0 | c >> 12);
    *out++ = (char)(0x80 | (c >> 6 & 0x3f));
    *out++ = (char)(0x80 | (c & 0x3f));
  } else {
    *out++ = (char)(0xf0 | c >> 18);
    *out++ = (char)(0x80 | (c >> 12 & 0x3f));
    *out++ = (char)(0x80 | (c >> 6 & 0x3f));
    *out++ = (char)(0x80 | (c & 0x3f));
  }
  return out;
}

/* The escape that s->at is behind the backslash of. */
static sb_status escape(sb_json_scan *s, char **out) {
  static const char letters[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
  const char *letter = *s->at ? strchr(letters, *s->at) : NULL;
  if (letter) {
    *(*out)++ = meant[letter - letters];
    s->at++;
    return SB_OK;
  }
  long c = *s->at == 'u' ? hex4(s->at + 1) : -1;
  if (c < 0) return sb_json_scan_wrong(s, "an unknown escape in a string");
  s->at += 5;
  if (c >= 0xd800 && c < 0xdc00 && s->at[0] == '\\' && s->at[1] == 'u') {
    const long low = hex4(s->at + 2);
    if (low >= 0xdc00 && low < 0xe000) {
      c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
      s->at += 6;
    }
  }
  if (c == 0 || (c >= 0xd800 && c < 0xe000)) c = REPLACEMENT;
  *out = put_utf8(*out, c);
  return SB_OK;
}

/* Bytes of the well-formed UTF-8 sequence at `from`, which is not ASCII; 0 where there is none. */
static size_t sequence(const char *from) {
  const unsigned char *b = (const unsigned char *)from;
  const size_t bytes = b[0] >= 0xf0 ? 4 : b[0] >= 0xe0 ? 3 : 2;
  if (b[0] < 0xc2 || b[0] > 0xf4) return 0;
  for (size_t i = 1; i < bytes; i++)
    if ((b[i] & 0xc0) != 0x80) return 0;
  if ((b[0] == 0xe0 && b[1] < 0xa0) || (b[0] == 0xed && b[1] > 0x9f)) return 0;
  if ((b[0] == 0xf0 && b[1] < 0x90) || (b[0] == 0xf4 && b[1] > 0x8f)) return 0;
  return bytes;
}

sb_status sb_json_scan_string(sb_json_scan *s, const char **out) {
  skip_space(s);
  if (*s->at != '"') return sb_json_scan_wrong(s, "no string");
  char *to = ++s->at;
  *out = to;
  while (*s->at != '"') {
    const unsigned char c = (unsigned char)*s->at;
    if (c == '\\') {
      s->at++;
      SB_TRY(escape(s, &to));
    } else if (c >= 0x80) {
      const size_t bytes = sequence(s->at);
      if (bytes == 0) return sb_json_scan_wrong(s, "a string is not UTF-8");
      memmove(to, s->at, bytes);
      to += bytes;
      s->at += bytes;
    } else if (c < 0x20) {
      return sb_json_scan_wrong(s, s->at == s->end ? "a string does not end"
                                                   : "a control character in a string");
    } else {
      *to++ = *s->at++;
    }
  }
  *to = '\0';
  s->at++;
  return SB_OK;
}

/* ---- numbers and words ---- */

static bool take(sb_json_scan *s, const char *word) {
  const size_t length = strlen(word);
  if (strncmp(s->at, word, length) != 0) return false;
  s->at += length;
  return true;
}

sb_status sb_json_scan_number(sb_json_scan *s, bool *integer, int64_t *whole, double *real) {
  skip_space(s);
  char *begin = s->at;
  *integer = false;
  if (take(s, "NaN")) {
    *real = NAN;
    return SB_OK;
  }
  const bool negative = *s->at == '-';
  s->at += negative;
  if (take(s, "Infinity")) {
    *real = negative ? -INFINITY : INFINITY;
    return SB_OK;
  }
  char *digits = s->at;
  while (digit(*s->at)) s->at++;
  bool good = s->at > digits && (*digits != '0' || s->at == digits + 1);
  *integer = true;
  if (good && *s->at == '.') {
    *integer = false;
    good = digit(*++s->at);
    while (digit(*s->at)) s->at++;
  }
  if (good && (*s->at == 'e' || *s->at == 'E')) {
    *integer = false;
    s->at++;
    if (*s->at == '+' || *s->at == '-') s->at++;
    good = digit(*s->at);
    while (digit(*s->at)) s->at++;
  }
  if (!good) return sb_json_scan_wrong(s, "no number");
  errno = 0;
  if (*integer) *whole = strtoll(begin, NULL, 10);
  if (*integer && errno != 0) *integer = false;
  if (!*integer) *real = strtod(begin, NULL); /* beyond its range: infinity, as Python has it */
  return SB_OK;
}

sb_status sb_json_scan_word(sb_json_scan *s) {
  skip_space(s);
  return take(s, "true") || take(s, "false") || take(s, "null") ? SB_OK
                                                                : sb_json_scan_wrong(s, "no value");
}

static sb_status skip(sb_json_scan *s, int depth) {
  const char *text;
  bool integer, first = true, more = true;
  int64_t whole;
  double real;
  const sb_json_kind kind = sb_json_scan_kind(s);
  if (kind == SB_JSON_STRING) return sb_json_scan_string(s, &text);
  if (kind == SB_JSON_NUMBER) return sb_json_scan_number(s, &integer, &whole, &real);
  if (kind != SB_JSON_OBJECT && kind != SB_JSON_ARRAY) return sb_json_scan_word(s);
  if (depth == SB_JSON_DEPTH) return sb_json_scan_wrong(s, "too many brackets inside each other");
  SB_TRY(sb_json_scan_enter(s, kind == SB_JSON_OBJECT ? '{' : '['));
  for (;;) {
    SB_TRY(sb_json_scan_next(s, kind == SB_JSON_OBJECT ? '}' : ']', &first, &more, &text));
    if (!more) return SB_OK;
    SB_TRY(skip(s, depth + 1));
  }
}

sb_status sb_json_scan_skip(sb_json_scan *s) {
  return skip(s, 0);
}
