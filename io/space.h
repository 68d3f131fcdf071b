/* Free space of file systems. All functions are local. */
#ifndef SB_IO_SPACE_H
#define SB_IO_SPACE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

/* SB_ERR_IO, with both figures, when the file system of `folder` has less than `bytes` free. `what`
 * is to be written, for the message. Where the system does not tell, the write itself will. */
sb_status sb_space_require(const char *folder, const char *what, uint64_t bytes);
/* Whether two folders lie in one file system, so that what is written to both counts together. */
bool sb_space_is_shared(const char *a, const char *b);

#endif
