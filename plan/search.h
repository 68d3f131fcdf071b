/* The search of bits: memory of a rank beside the memory that it holds throughout (plan/held.h),
 * and the work of a pass. Pure. */
#ifndef SB_PLAN_SEARCH_H
#define SB_PLAN_SEARCH_H

#include "plan/gradient_pass.h"

typedef struct sb_plan_search {
  sb_plan_pass pass;
  sb_plan_pass check; /* of the check sequences, forward only; all 0 without any */
  double scores;      /* the estimator, the search and its allocator */
  double bytes;       /* sum */

  /* of the busiest rank, in one pass: FLOPs, and bytes sent to other nodes. A walk through the
   * model brings every byte to every node once: a rank sends its part to each other node. A
   * gradient pass walks the layers and the LM head twice for each wave. */
  double loss_flops, loss_sent;
  double gradient_flops, gradient_sent; /* with the sums of scores over ranks */
  double check_flops, check_sent;
} sb_plan_search;

sb_plan_search sb_plan_search_of(const sb_plan_basis *basis);

#endif
