/* Completion of command lines by a shell, from the tables of options: a script is a beginning, a
 * part for each command, and an end. All functions are pure but for what they write. */
#ifndef SB_CLI_COMPLETION_H
#define SB_CLI_COMPLETION_H

#include <stddef.h>
#include <stdio.h>

#include "cli/options.h"

/* Writes the names of the commands, and what a script begins with. `names` and `summaries` are
 * [count]; `form` is SB_HELP_BASH or SB_HELP_ZSH. */
void sb_completion_begin(const char *const *names, const char *const *summaries, size_t count,
                         sb_help_form form, FILE *out);
/* Writes the part of one command, or for SB_HELP_TEXT its help. */
void sb_completion_or_help(const sb_usage *usage, sb_help_form form, FILE *out);
void sb_completion_end(sb_help_form form, FILE *out);

#endif
