/* Allocation without a search: from one backward pass at full precision, which gives what every
 * block is expected to cost at every width (sensitivity/loss_table.h), all widths are chosen at
 * once. The baselines that the search is held against. */
#ifndef SB_ALLOC_ALLOCATE_TABLE_H
#define SB_ALLOC_ALLOCATE_TABLE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"
#include "base/ticker.h"
#include "kernels/backend.h"
#include "model/model.h"
#include "pass/sequences.h"
#include "sensitivity/estimator.h"

typedef struct sb_allocate_table_options {
  double bits; /* budget in effective bits a weight */
  unsigned min_bits, max_bits;
  sb_estimator estimator; /* SB_ESTIMATOR_HESSIAN or SB_ESTIMATOR_DIAGONAL */
  bool by_layer;          /* one width a matrix (alloc/choose_matrices.h) instead of one a block
                             (alloc/choose_blocks.h) */
  size_t activation_bytes;
  sb_ticker ticker;
} sb_allocate_table_options;

typedef struct sb_allocate_table_result {
  double loss;           /* of the calibration, at full precision */
  double predicted, gap; /* rise of it, and how far from the least possible it is at most
                            (alloc/choose_blocks.h) */
  double score_seconds, gradient_seconds; /* of this rank */
} sb_allocate_table_result;

/* The model is left with the bits found. Errors as sb_allocate. Collective. */
sb_status sb_allocate_table(sb_model *model, sb_backend *backend, const sb_sequences *calibration,
                            const sb_allocate_table_options *options,
                            sb_allocate_table_result *result);

#endif
