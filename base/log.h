/* What the program tells a person while it runs: lines on stderr from the one process that speaks
 * (rank 0, unless --quiet). The log stands for the process's stderr, of which there is one; it is
 * the only thing here that is not handed down as an argument. All calls are local, cheap where the
 * process does not speak, and made by one thread. */
#ifndef SB_BASE_LOG_H
#define SB_BASE_LOG_H

#include <stdbool.h>
#include <stdio.h>

/* From here on this process speaks, or is silent. Silent before the first call. */
void sb_log_open(bool speaks);
/* The same to another stream: for tests. */
void sb_log_open_to(FILE *stream, bool speaks);
/* True where lines appear. */
bool sb_log_speaks(void);

/* One line; the newline is added. A progress line on a terminal is wiped first. */
void sb_log_line(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* One line for a phase that is over: its name, seconds, GFLOP/s of this process (`flops` 0 leaves
 * the field empty), the process's peak resident memory so far, and a formatted detail ("" for
 * none): score        12.3 s    215 GFLOP/s   1.21 GiB  32 sequences, 5.1 G moves */
void sb_log_phase(const char *name, double seconds, double flops, const char *detail, ...)
    __attribute__((format(printf, 4, 5)));

/* For base/progress: the stream, and a hook-free way to own the last line of a terminal. */
FILE *sb_log_stream(void);
void sb_log_transient(const char *line); /* "" wipes */

#endif
