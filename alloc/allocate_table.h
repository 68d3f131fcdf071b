/* The bit map of a model without a search: one gradient pass at full precision gives a table
 * of losses (sensitivity/loss_table.h), from which all widths are chosen at once. The
 * baselines of the search. */
#ifndef SB_ALLOC_ALLOCATE_TABLE_H
#define SB_ALLOC_ALLOCATE_TABLE_H

#include <stddef.h>

#include "base/status.h"
#include "base/ticker.h"
#include "kernels/backend.h"
#include "model/model.h"
#include "model/width_rules.h"
#include "pass/sequences.h"
#include "sensitivity/estimator.h"

typedef struct sb_allocate_table_options {
  double bits; /* budget: effective bits per weight of the layers' matrices */
  unsigned min_bits, max_bits;
  sb_estimator estimator; /* SB_ESTIMATOR_HESSIAN or SB_ESTIMATOR_DIAGONAL */
  sb_width_scope scope;   /* what shares a width: of a block (alloc/choose_blocks.h), or of more
                             (alloc/choose_items.h) */
  sb_width_set widths;    /* that items may have; blocks have all in the bounds */
  size_t activation_bytes;
  sb_ticker ticker;
} sb_allocate_table_options;

typedef struct sb_allocate_table_result {
  double loss;      /* calibration loss at full precision, nats per token */
  double predicted; /* rise of that loss with the chosen widths, as the table has it */
  double gap;       /* proven: no other widths have a rise that is lower by more than this */
  double score_seconds, gradient_seconds; /* of this rank; gradient: the pass, scoring included */
} sb_allocate_table_result;

/* `model` (SB_CODING_SOURCE) is left with the bits found. Errors as sb_allocate. Collective. */
sb_status sb_allocate_table(sb_model *model, sb_backend *backend, const sb_sequences *calibration,
                            const sb_allocate_table_options *options,
                            sb_allocate_table_result *result);

#endif
