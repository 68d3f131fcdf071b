/* Numbers as people read them: "1.5 GiB", "135 M", "2 min 05 s". All local. Each writes at most
 * `size` bytes, the terminating zero included, and returns `text`, so that the call can be an
 * argument of printf. */
#ifndef SB_BASE_TEXT_H
#define SB_BASE_TEXT_H

#include <stddef.h>

enum { SB_TEXT_SIZE = 32 }; /* room enough for any of these */

/* Bytes in binary units: "512 B", "1.50 KiB", "13.2 GiB". */
char *sb_text_bytes(char *text, size_t size, double bytes);
/* A count in powers of a thousand: "999", "13.2 k", "4.30 M", "70.6 G". */
char *sb_text_count(char *text, size_t size, double count);
/* Seconds: "0.35 s", "12.3 s", "2 min 05 s", "3 h 07 min". */
char *sb_text_seconds(char *text, size_t size, double seconds);

#endif
