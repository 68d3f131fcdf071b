/* Linears whose precision is not left to the solver: first and last layers that stay high, and
 * those that a shell pattern names. Local. */
#ifndef SB_POLICY_FORCED_H
#define SB_POLICY_FORCED_H

#include "kernels/lowprec.h"
#include "policy/linears.h"

/* In place of a precision: the solver chooses. */
#define SB_PRECISION_FREE SB_PRECISION_COUNT

typedef struct sb_forced_options {
  const char *patterns; /* "PATTERN=PRECISION,..."; of several that match the first counts; NULL */
  size_t keep_first, keep_last; /* layers at the high precision */
} sb_forced_options;

/* forced[i] = the precision of linear i, or SB_PRECISION_FREE. SB_ERR_RANGE for a text that is not
 * such a list, a precision that is not known, a pattern that matches no linear, for more layers
 * than there are, and for a pattern that makes a kept layer low. Messages name the options.
 * O(linears patterns). */
sb_status sb_forced_set(const sb_linears *linears, const sb_forced_options *options,
                        sb_precision *forced);

#endif
