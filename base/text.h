/* Numbers as people read them ("1.5 GiB", "135 M", "2 min 05 s"), and text that others wrote, as it
 * may be shown. All local. Each writes at most `size` bytes, the terminating zero included, and
 * returns `text`, so that the call can be an argument of printf. */
#ifndef SB_BASE_TEXT_H
#define SB_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum { SB_TEXT_SIZE = 32 }; /* room enough for any of these */

/* Bytes in binary units: "512 B", "1.50 KiB", "13.2 GiB". */
char *sb_text_bytes(char *text, size_t size, double bytes);
/* A count in powers of a thousand: "999", "13.2 k", "4.30 M", "70.6 G". */
char *sb_text_count(char *text, size_t size, double count);
/* "" for one, "s" for none or several: "%zu node%s". */
static inline const char *sb_text_s(unsigned long long count) {
  return count == 1 ? "" : "s";
}
/* Whether `text` ends in `end`. */
bool sb_text_ends(const char *text, const char *end);
/* A limit in four significant digits, "4.259", rounded to the side that is allowed: not below
 * `limit` where it is the `least` number, not above where it is the most. Returns the number that
 * the text reads as. `limit` is positive. */
double sb_text_limit(char *text, size_t size, double limit, bool least);
/* The shortest decimals that read back as `value`: "0.0003", "1e-12". */
char *sb_text_real(char *text, size_t size, double value);
/* Seconds: "0.35 s", "12.3 s", "2 min 05 s", "3 h 07 min". */
char *sb_text_seconds(char *text, size_t size, double seconds);

/* `from` with all that a terminal obeys and does not show written out: \n \r \t, \x1b for other
 * control characters and for bytes that are not UTF-8, \u202e for control characters beyond ASCII
 * (C1, separators of lines, marks that turn the direction of writing). All else is copied, the
 * backslash too, so escaping twice changes nothing. What does not fit ends in "...". `text` may not
 * overlap `from`. O(length). */
char *sb_text_escaped(char *text, size_t size, const char *from);
/* Writes one formatted line to `out`, escaped as a whole; the newline is added. Results for people
 * that name anything of a file or of the command line go through here. At most 16 KiB. */
void sb_text_print(FILE *out, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
