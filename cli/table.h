/* Results for people: aligned rows of label and value. With `out` NULL nothing is written, so that
 * every rank may run the same lines. Lines are escaped (sb_text_print). Local. */
#ifndef SB_CLI_TABLE_H
#define SB_CLI_TABLE_H

#include <stdio.h>

/* "  label            value" */
void sb_table_row(FILE *out, const char *label, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* A heading, with an empty line before it. */
void sb_table_head(FILE *out, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
