/* Moments for a model whose optimizer's state is not known: AdamW's, of batches at weights that
 * stay. Rates and decay have no part in it. */
#ifndef SB_POLICY_WARM_UP_H
#define SB_POLICY_WARM_UP_H

#include "base/status.h"
#include "pass/pass.h"
#include "train/gradient_sums.h"
#include "train/optimizer.h"

typedef struct sb_warm_up_setup {
  sb_pass *pass; /* with all gradients, all precisions high */
  sb_gradient_sums *sums;
  sb_optimizer *optimizer;
  sb_adamw adamw;
  uint64_t steps;
  /* Gives the pass the tokens of batch `step`. Local. */
  sb_status (*set_batch)(void *context, uint64_t step);
  void *context;
} sb_warm_up_setup;

/* `steps` updates of the moments alone; *seconds = those of one step, in the mean. SB_ERR_NUMERIC
 * for a gradient that is no number. Collective. */
sb_status sb_warm_up(const sb_warm_up_setup *setup, double *seconds);

#endif
