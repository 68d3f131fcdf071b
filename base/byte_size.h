/* A size that people give with its unit ("3.2GiB"), and limits told in the same unit. Local, pure.
 */
#ifndef SB_BASE_BYTE_SIZE_H
#define SB_BASE_BYTE_SIZE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct sb_byte_size {
  uint64_t bytes;   /* 0: none given */
  const char *unit; /* "GiB", "GB", "MiB" or "MB": a constant; NULL where none is given */
} sb_byte_size;

/* A number above 0 and a unit, upper or lower case, with at most one blank between them; from one
 * byte to less than 2^53. False for anything else, and *out stays. Rounded to the nearest byte. */
bool sb_byte_size_read(const char *text, sb_byte_size *out);
/* `bytes` in `unit` with its name, "71.7MiB": the shortest decimals that read back as this number
 * of bytes. At most `size` bytes are written, the zero included; returns `text`. */
char *sb_byte_size_text(char *text, size_t size, uint64_t bytes, const char *unit);
/* A limit in four digits, as sb_text_limit (base/text.h) rounds it: a size that reads so is
 * allowed. Returns `text`. `bytes` is above 0. */
char *sb_byte_size_limit(char *text, size_t size, uint64_t bytes, const char *unit, bool least);

#endif
