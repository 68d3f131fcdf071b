/* From a loaded model, calibration sequences and a budget to a bit map: the search (alloc/search.h)
 * driven by measured block moves (sensitivity/gains.h) and the model's own loss. */
#ifndef SB_ALLOC_ALLOCATE_H
#define SB_ALLOC_ALLOCATE_H

#include "alloc/search.h"
#include "base/status.h"
#include "base/ticker.h"
#include "kernels/backend.h"
#include "model/model.h"
#include "pass/sequences.h"
#include "sensitivity/gains.h"

typedef struct sb_allocate_options {
  double bits; /* budget in effective bits a weight of the decoder layers' matrices */
  unsigned min_bits, max_bits;
  unsigned start_bits; /* 0: the least uniform width at or above the budget */
  sb_estimator estimator;
  int strides; /* 0: no path, the search begins with what costs of widths choose
                  (alloc/choose_blocks.h) */
  int trades;
  double first_share, least_share;
  size_t activation_bytes;   /* a rank may use for layer inputs */
  const sb_sequences *check; /* whose loss decides on trades; NULL: the calibration's */
  const char *checkpoint;    /* file to save to and resume from (alloc/checkpoint.h), or NULL */
  uint64_t model;            /* for its key: fingerprint of the model before it was reordered */
  void (*report)(void *context, const sb_search_step *step, double effective_bits);
  void (*begin_pass)(void *context, const char *what); /* before every pass; may be NULL */
  void *context;                                       /* of the two above */
  sb_ticker ticker;                                    /* of the running pass */
} sb_allocate_options;

typedef struct sb_allocate_result {
  int resumed_steps; /* done by an earlier run, from whose checkpoint this one went on; 0: none */
  sb_search_result search;
  int cost_passes;   /* of gradients for costs of widths, and */
  int source_passes; /* forward passes of the source weights over the sequences that decide, beside
                        those of the search */
  double score_seconds;    /* of this rank: scoring blocks, beside the gradient passes */
  double gradient_seconds; /* of this rank: the passes that gave gains, scoring included */
  double loss_seconds;     /* of this rank: the forward passes that checked trades */
} sb_allocate_result;

/* SB_ERR_RANGE, with what is possible, where no bit map with widths in [min_bits, max_bits] has the
 * budget, or what `mode` stores of orders is more than that alone. Local, equal on all ranks. */
sb_status sb_allocate_check_budget(const sb_model *model, sb_reorder mode, double budget,
                                   unsigned min_bits, unsigned max_bits);
/* Sets all blocks to the largest uniform width in [min_bits, max_bits] within the budget.
 * SB_ERR_RANGE, with what is possible, when there is none. Local, equal on all ranks. */
sb_status sb_allocate_uniform(sb_model *model, double budget, unsigned min_bits, unsigned max_bits);
/* Searches; the model is left with the best bits found, within the budget. Collective. */
sb_status sb_allocate(sb_model *model, sb_backend *backend, const sb_sequences *calibration,
                      const sb_allocate_options *options, sb_allocate_result *result);

#endif
