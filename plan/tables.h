/* Embedding and LM head, where they get widths: the gradient pass that finds what their errors cost
 * (quant/table_stats.h), which serves the costs of the layers' widths too. Memory of a rank beside
 * the memory that it holds throughout (plan/held.h), and the work. Pure. */
#ifndef SB_PLAN_TABLES_H
#define SB_PLAN_TABLES_H

#include "plan/gradient_pass.h"

typedef struct sb_plan_tables {
  sb_plan_pass pass; /* all 0 where nothing is measured, as the rest */
  double statistics; /* of errors, and the costs of widths */
  double bytes;      /* sum */

  double flops, sent; /* of the busiest rank: the gradient pass and the sums of second moments */
} sb_plan_tables;

sb_plan_tables sb_plan_tables_of(const sb_plan_basis *basis);

#endif
