/* Training of scales after rounding: memory of a rank beside the memory that it holds throughout
 * (plan/held.h), and the work of the busiest rank. Pure. */
#ifndef SB_PLAN_TUNE_H
#define SB_PLAN_TUNE_H

#include "plan/gradient_pass.h"
#include "plan/held.h"

typedef struct sb_plan_tune {
  size_t local, steps; /* sequences; steps of a batch each */
  sb_plan_pass pass;   /* of a batch; its reference has the states of all sequences */
  double scales;       /* and their gradients */
  double bytes;        /* sum, with the packed model and without its slots; 0: no training */

  double learn_flops;   /* forward: the source weights once, divergence before and after */
  double forward_flops; /* of all steps */
  double step_flops;    /* of all steps, forward and backward */
  double sent;          /* bytes: the source once; the packed model for each wave of each step, and
                           before and after; a sum per group for each step */
} sb_plan_tune;

sb_plan_tune sb_plan_tune_of(const sb_plan_basis *basis, const sb_plan_packed *packed);

#endif
