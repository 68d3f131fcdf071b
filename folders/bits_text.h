/* A bit map as text, one digit per block: as allocation files and saved searches have it. Local. */
#ifndef SB_FOLDERS_BITS_TEXT_H
#define SB_FOLDERS_BITS_TEXT_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

/* text[count + 1] = the digits of `count` blocks and a zero. */
void sb_bits_text_write(char *text, const uint8_t *bits, size_t count);
/* bits[count] = what the text says. SB_ERR_FORMAT "WHERE ..." for another number of digits (NULL
 * has none), or a digit beyond sb_limit_bits (base/limits.h). */
sb_status sb_bits_text_read(const char *where, const char *text, size_t count, uint8_t *bits);

#endif
