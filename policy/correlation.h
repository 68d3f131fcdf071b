/* How well predictions order what is measured. Pure. */
#ifndef SB_POLICY_CORRELATION_H
#define SB_POLICY_CORRELATION_H

#include <stddef.h>

#include "base/status.h"

/* *out = Spearman's rank correlation of a and b, `count` numbers each; equal numbers share the mean
 * of their ranks. NaN where one has fewer than two different numbers. SB_ERR_MEMORY.
 * O(count log count). */
sb_status sb_rank_correlation(const double *a, const double *b, size_t count, double *out);

#endif
