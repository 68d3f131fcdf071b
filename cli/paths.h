/* Paths of the command line, where the working folder will not stay. */
#ifndef SB_CLI_PATHS_H
#define SB_CLI_PATHS_H

#include "base/status.h"
#include "cli/options.h"

enum { SB_PATHS_MAX = 16 }; /* of one command line */

/* out[SB_PATH_MAX] = `path`, behind the working folder where it is relative, without leading "."
 * and
 * "..". Links stay. SB_ERR_IO when that is too long, or the working folder is gone. Local. */
sb_status sb_path_absolute(const char *path, char *out);

/* A run that replaces the folder that it was started in, or one that holds it (-o . --overwrite),
 * stands in a removed folder afterwards, where relative paths lead nowhere. If --out is such a
 * folder, all paths among the parsed options and arguments become absolute; else they stay as the
 * user wrote them. "-" stays. The new texts live as long as the process. Local. */
sb_status sb_paths_settle(const sb_usage *usage);

#endif
