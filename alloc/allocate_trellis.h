/* The bit map of a model in trellis codes. Costs of all widths come from one gradient pass, without
 * quantizing anything (sensitivity/energy.h), so the best widths by these costs are known at once.
 * What decides is the loss after the real rounding, of up to three candidates:
 *
 *   uniform   the largest width that fits the budget; not tried where none fits
 *   matrix    a width for each matrix
 *   block     a width for each block
 *
 * So a mix that is worse than none, or than a coarser one, is not taken. Rounding with feedback
 * (quant/gptq.h) leaves less of an error where later columns make up for it. The first candidate's
 * rounding measures what it leaves (quant/gptq_pivots.h), and the costs of the others are weighed
 * by that. The chosen candidate's coded model is handed over, so it is not rounded again. */
#ifndef SB_ALLOC_ALLOCATE_TRELLIS_H
#define SB_ALLOC_ALLOCATE_TRELLIS_H

#include "base/status.h"
#include "base/ticker.h"
#include "kernels/backend.h"
#include "model/model.h"
#include "model/sizes.h"
#include "pass/sequences.h"
#include "quant/gptq.h"
#include "sensitivity/estimator.h"

typedef enum sb_candidate {
  SB_CANDIDATE_UNIFORM,
  SB_CANDIDATE_MATRIX,
  SB_CANDIDATE_BLOCK,
  SB_CANDIDATES
} sb_candidate;
/* "uniform", "matrix", "block". */
extern const char *const sb_candidate_names[SB_CANDIDATES];

typedef struct sb_candidate_result {
  bool tried;
  double loss;           /* after rounding, nats per token; INFINITY where it overflows */
  double effective_bits; /* per weight */
  double seconds;        /* of rounding and checking it; 0 where an earlier one has the same bits */
} sb_candidate_result;

typedef struct sb_allocate_trellis_options {
  double bits; /* budget: effective bits per weight of the layers' matrices */
  unsigned min_bits, max_bits;
  bool by_matrix;               /* no widths of single blocks */
  bool divergence;              /* what decides: divergence from the source; else the loss */
  const sb_sequences *check;    /* whose loss decides; NULL: the calibration's */
  const sb_sequences *rounding; /* for sb_gptq */
  const sb_gptq_options *gptq;  /* of the final rounding, `pivots` NULL; NULL: to nearest. Its
                                   checkpoint is of the last candidate */
  const char *checkpoint;       /* file that the outcome is saved to and read from, or NULL */
  uint64_t model;               /* for its key: fingerprint of the model before reordering */
  size_t activation_bytes;      /* for the layer inputs of a rank */
  void (*report)(void *context, sb_candidate candidate, const sb_candidate_result *result);
  void (*begin_pass)(void *context, const char *name); /* called before every pass; may be NULL */
  void *context;                                       /* passed to both */
  sb_ticker ticker;                                    /* share of the running pass */
} sb_allocate_trellis_options;

typedef struct sb_allocate_trellis_result {
  bool resumed; /* the bits were in the checkpoint: nothing was tried */
  sb_candidate_result candidates[SB_CANDIDATES];
  sb_candidate chosen;
  sb_model *coded;      /* the chosen candidate, rounded; the caller's. NULL if resumed */
  sb_gptq_stats gptq;   /* of its rounding */
  bool left_out;        /* sb_gptq failed by numbers (sb_message): rounded to nearest instead */
  double table_loss;    /* of the source weights on the calibration */
  double cost_seconds;  /* of the gradient pass */
  double score_seconds; /* of this rank, beside it */
} sb_allocate_trellis_result;

/* `model` (SB_CODING_SOURCE, in trellis codes) is left with the chosen bits, within the budget.
 * SB_ERR_RANGE as sb_budget_check (alloc/budget.h), SB_ERR_NUMERIC where no candidate has a finite
 * loss, SB_ERR_FORMAT for a checkpoint of another search. Collective; all ranks fail together.
 * Memory beside the model: that of a gradient pass, then that of sb_gptq and two coded models. */
sb_status sb_allocate_trellis(sb_model *model, sb_backend *backend, const sb_sequences *calibration,
                              const sb_allocate_trellis_options *options,
                              sb_allocate_trellis_result *result);
/* Most bytes that sb_allocate_trellis takes beside its passes, roundings and coded models. Pure. */
size_t sb_allocate_trellis_bytes(const sb_sizes *sizes);

#endif
