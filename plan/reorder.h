/* Reordering channels: a gradient pass before the search. Memory of a rank beside the memory that
 * it holds throughout (plan/held.h). Pure. */
#ifndef SB_PLAN_REORDER_H
#define SB_PLAN_REORDER_H

#include "plan/gradient_pass.h"

typedef struct sb_plan_reorder {
  sb_plan_pass pass;
  double scores; /* of channels */
  double bytes;  /* sum; 0 where channels stay */
} sb_plan_reorder;

sb_plan_reorder sb_plan_reorder_of(const sb_plan_basis *basis);

#endif
