/* The files and folders of a command line: what is to be written can be, and does not lie on what
 * is read. Asked before any work.
 *
 * Options and arguments say what they name (sb_option_file); so every command is asked the same. */
#ifndef SB_CLI_TARGETS_H
#define SB_CLI_TARGETS_H

#include "base/status.h"
#include "cli/options.h"

/* SB_ERR_IO, with the way out, where the parsed command line names
 *
 *   a file to write that cannot be (its folder is missing or not writable, it is a folder)
 *   a file to write that is an input, or a file of a folder that is an input, links resolved
 *   the same file to write twice
 *   an output folder that is, or holds, an input or a file that the run keeps while it works
 *
 * Whether the output folder itself can be
 * put in place: folders/destination.h. Local. O(files of input folders). */
sb_status sb_targets_check(const sb_usage *usage);

/* The same for the file of SHARDBITS_TRACE, which is written after a refusal too: so it is asked
 * before the command line is understood, and any file that this names counts. Local. */
sb_status sb_targets_check_trace(const char *trace, int argc, char **argv);

#endif
