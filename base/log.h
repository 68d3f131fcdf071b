/* Lines on stderr that tell a person what the program does, on two levels.
 *
 * Lines for users come from the one process that speaks (rank 0, unless --quiet). Lines for
 * developers (debug) come from the ranks that SHARDBITS_LOG names (cli/observe.h). Each begins with
 * its rank and the seconds since its log was opened: "[3 12.345] store: ...".
 *
 * A process has one stderr, so the log is not handed down as an argument (as base/trace.h). All
 * calls are local, cheap where nothing is written, and made by one thread. */
#ifndef SB_BASE_LOG_H
#define SB_BASE_LOG_H

#include <stdbool.h>
#include <stdio.h>

#include "base/status.h"

/* From here on this process speaks, or is silent. It is silent before the first call. Debug lines
 * do not change. */
void sb_log_open(bool speaks);
/* The same to another stream: for tests. */
void sb_log_open_to(FILE *stream, bool speaks);
/* True where lines for users appear. */
bool sb_log_speaks(void);

/* Whether `rank` of `ranks` writes debug lines, by the text of SHARDBITS_LOG:
 *
 *   NULL, "", "info"     none does
 *   "debug"              rank 0
 *   "debug:all"          all
 *   "debug:0,4-7"        ranks 0, 4, 5, 6 and 7
 *
 * Any other text, or a rank that does not exist, is SB_ERR_USAGE with the accepted forms, the same
 * on every rank. Pure. */
sb_status sb_log_parse(const char *text, int rank, int ranks, bool *debugs);
/* From here on this process writes debug lines as `rank`, or none. The lines' clock starts here. */
void sb_log_set_debug(bool on, int rank);
/* True where debug lines appear: for asking before a line that takes effort. */
bool sb_log_debugs(void);

/* One line for users; the newline is added. A progress line on a terminal is wiped first. */
void sb_log_line(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* One line for developers. `room` is the folder or file that speaks: "store", "gptq". */
void sb_log_debug(const char *room, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* One line for a phase that is over: its name, seconds, GFLOP/s of this process (`flops` 0
 * leaves the field empty), the process's peak resident memory so far, and a formatted detail
 * ("" for none):
 *
 *   score        12.3 s    215 GFLOP/s   1.21 GiB  32 sequences, 5.1 G moves */
void sb_log_phase(const char *name, double seconds, double flops, const char *detail, ...)
    __attribute__((format(printf, 4, 5)));

/* For base/progress: the stream, and the last line of a terminal, which the next line replaces. */
FILE *sb_log_stream(void);
void sb_log_transient(const char *line); /* "" wipes */

#endif
