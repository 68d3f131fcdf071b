/* A policy for people: what it amounts to, and a table of layers by linears. */
#ifndef SB_CLI_POLICY_SHOW_H
#define SB_CLI_POLICY_SHOW_H

#include <stdio.h>

#include "policy/outcome.h"

/* `result` is NULL where no solver ran. Nothing is written with `out` NULL. Local. */
void sb_policy_show(FILE *out, const char *input, const sb_policy *policy, const sb_stages *stages,
                    const sb_rates *rates, const sb_choose_result *result);

#endif
