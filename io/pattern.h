/* Files by a name or a pattern of glob(3), as an option names them. Local. */
#ifndef SB_IO_PATTERN_H
#define SB_IO_PATTERN_H

#include <glob.h>

#include "base/status.h"

/* Appends the files that `path` means to *found, which begins as {0} and is released with
 * globfree, in the order of their names. A name that exists is a file, whatever signs are in it; a
 * pattern that matches nothing stays, for the message of whoever opens it. `what` names such a file
 * for messages: "token file". SB_ERR_IO, SB_ERR_MEMORY. */
sb_status sb_pattern_files(const char *path, const char *what, glob_t *found);

#endif
