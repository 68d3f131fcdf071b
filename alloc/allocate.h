/* The bit map of a model, found by the search (alloc/search.h). Gains of block moves are measured
 * on calibration sequences (sensitivity/gains.h); the model's own loss decides. */
#ifndef SB_ALLOC_ALLOCATE_H
#define SB_ALLOC_ALLOCATE_H

#include "alloc/search.h"
#include "base/status.h"
#include "base/ticker.h"
#include "kernels/backend.h"
#include "model/model.h"
#include "model/sizes.h"
#include "model/width_rules.h"
#include "pass/sequences.h"
#include "sensitivity/gains.h"

typedef struct sb_allocate_options {
  double bits;                 /* budget: effective bits per weight of the layers' matrices */
  unsigned min_bits, max_bits; /* of any block */
  sb_width_scope scope;        /* what shares a width: a block, or an item (alloc/items.h) */
  sb_width_set widths;         /* that items may have; blocks have all in the bounds */
  unsigned start_bits;         /* 0: the least uniform width at or above the budget */
  sb_estimator estimator;
  int strides; /* 0: no path; the search begins with the bits that a loss table chooses
                  (alloc/choose_blocks.h) */
  int trades;  /* batches tried at the budget, at most */
  double first_share, least_share; /* see sb_search_options */
  size_t activation_bytes;         /* for the layer inputs of a rank */
  const sb_sequences *check;       /* their loss decides on trades; NULL: the calibration's */
  const char *checkpoint; /* file to save to and resume from (alloc/checkpoint.h), or NULL */
  uint64_t model;         /* for its key: fingerprint of the model before it was reordered */
  void (*report)(void *context, const sb_search_step *step, double effective_bits);
  void (*begin_pass)(void *context, const char *name); /* called before every pass; may be NULL */
  void *context;                                       /* passed to both */
  sb_ticker ticker;                                    /* share of the running pass */
} sb_allocate_options;

typedef struct sb_allocate_result {
  int resumed_steps; /* steps that the checkpoint had; 0 without one */
  sb_search_result search;
  /* passes beside those of the search */
  int cost_passes;   /* gradient passes for the loss table */
  int source_passes; /* forward passes of the source weights over the check sequences */
  /* of this rank */
  double score_seconds;    /* scoring of blocks alone */
  double gradient_seconds; /* gradient passes, scoring included */
  double loss_seconds;     /* forward passes that checked trades */
} sb_allocate_result;

/* Sets all blocks to the largest width of `widths` within the budget. SB_ERR_RANGE, with the
 * possible range, when none fits. Local, equal on all ranks. */
sb_status sb_allocate_uniform(sb_model *model, double budget, sb_width_set widths);
/* Searches. `model` (SB_CODING_SOURCE) is left with the best bits found, within the budget.
 * SB_ERR_RANGE as sb_budget_check (alloc/budget.h), SB_ERR_FORMAT for a checkpoint of another
 * search, SB_ERR_NUMERIC where the loss or a gradient is not finite. Collective; all ranks fail
 * together. Memory beside the model: that of a gradient pass and of the estimator. */
sb_status sb_allocate(sb_model *model, sb_backend *backend, const sb_sequences *calibration,
                      const sb_allocate_options *options, sb_allocate_result *result);
/* Most bytes that sb_allocate takes beside its passes and gains (sensitivity/gains.h).
 * `from_costs`: it begins with the bits that costs of widths choose. Pure. */
size_t sb_allocate_bytes(const sb_sizes *sizes, bool from_costs);

#endif
