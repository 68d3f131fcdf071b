/* Budgets in effective bits per weight: which ones are possible, what storage they leave to blocks,
 * what an allocation leaves of them. Local, equal on all ranks. */
#ifndef SB_ALLOC_BUDGET_H
#define SB_ALLOC_BUDGET_H

#include <stdint.h>

#include "base/status.h"
#include "model/effective_bits.h"
#include "model/model.h"

/* Widths in [min_bits, max_bits] that a `scope` shares. */
typedef struct sb_budget {
  double bits; /* effective bits per weight of the layers' matrices, orders included */
  unsigned min_bits, max_bits;
  sb_width_scope scope;
} sb_budget;

/* SB_ERR_RANGE, with the possible range, where no such widths have the budget, or where the orders
 * that `mode` stores exceed it alone. A limit that the message names is accepted. O(matrices). */
sb_status sb_budget_check(const sb_arch *arch, const sb_blocking *blocking, sb_reorder mode,
                          const sb_budget *budget);
/* Storage of blocks, in bits as sb_blocks_cost counts, that a budget which passed the check leaves
 * after bit maps and stored orders; at least that of the least widths. O(matrices). */
uint64_t sb_budget_storage(const sb_model *model, const sb_budget *budget);

/* What the model's present widths leave of a budget. */
typedef struct sb_budget_rest {
  double bits;     /* effective bits per weight; 0 where they exceed it */
  const char *why; /* a constant; NULL where no width more fits into the rest */
} sb_budget_rest;

/* O(blocks). */
sb_budget_rest sb_budget_left(const sb_model *model, const sb_budget *budget);

#endif
