/* The solver's instance (policy/choose.h): for every decision and candidate precision its score,
 * its FLOPs in 4 bits and its time, in whole numbers. Local. */
#ifndef SB_POLICY_CHOICE_TABLE_H
#define SB_POLICY_CHOICE_TABLE_H

#include "policy/choose_options.h"

/* Arrays are [decisions, choices]. A decision whose precision is forced has it in all its choices.
 */
typedef struct sb_choice_table {
  sb_decisions decisions;
  size_t choices;
  sb_precision *forced; /* [decisions] or SB_PRECISION_FREE */
  sb_precision *precision;
  double *score;
  int64_t *loss;       /* (score - least of the decision) 2^exponent, rounded */
  uint64_t *low;       /* multiply-adds per token in 4 bits */
  uint64_t *time;      /* NULL without rates */
  uint64_t *high_time; /* [decisions] in bf16 */
  int exponent;
  double base; /* sum over decisions of the least score */
} sb_choice_table;

/* Checks the options against the profile (errors as sb_choose) and makes the table. Release with
 * sb_choice_table_free. O(linears candidates). */
sb_status sb_choice_table_create(const char *path, const sb_profile *profile,
                                 const sb_choose_options *options, sb_choice_table *out);
void sb_choice_table_free(sb_choice_table *table);

#endif
