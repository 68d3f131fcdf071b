/* From a loaded model to the same model with its channels in the order that gathers what is
 * sensitive. */
#ifndef SB_SENSITIVITY_REORDER_H
#define SB_SENSITIVITY_REORDER_H

#include "base/status.h"
#include "base/ticker.h"
#include "pass/sequences.h"
#include "sensitivity/channels.h"

typedef struct sb_reorder_options {
  sb_reorder mode; /* not none */
  sb_channel_score score;
  double bits;             /* the budget: channels are scored at sb_reorder_width of it */
  size_t activation_bytes; /* a rank may use for layer inputs */
  sb_ticker ticker;
} sb_reorder_options;

typedef struct sb_reorder_result {
  unsigned width;          /* where channels were scored */
  double loss;             /* there */
  double gradient_seconds; /* of this rank: the pass, scoring included */
  double score_seconds;    /* of this rank: scoring beside the pass */
} sb_reorder_result;

/* The largest uniform width within the budget, and at least 2: where the model will be, for at 1
 * bit and beyond it gradients say nothing. Local. */
unsigned sb_reorder_width(const sb_model *model, sb_reorder mode, double bits);

/* Scores the channels of a model (coding SB_CODING_SOURCE, channels as the file has them) and finds
 * the orders of options->mode, and where `indexed` is not NULL those of SB_REORDER_INDEXED by the
 * same scores too. Leaves all bits at result->width. Collective. Takes one gradient pass. */
sb_status sb_reorder_find(sb_model *model, sb_backend *backend, const sb_sequences *calibration,
                          const sb_reorder_options *options, sb_reorder_result *result,
                          sb_orders *orders, sb_orders *indexed);

/* Scores the channels of *model (coding SB_CODING_SOURCE, in the file's order, read from `folder`),
 * releases it, and reads it again in the orders found: *model is then another one, all bits 0, with
 * the importance of its input channels (quant/importance.h) where the old one had it. On failure
 * *model may be NULL. Collective. Takes one gradient pass and one reading of the files. */
sb_status sb_reorder_model(sb_model **model, const char *folder, sb_backend *backend,
                           const sb_sequences *calibration, const sb_reorder_options *options,
                           sb_reorder_result *result);

/* The same with orders that are given (copied). Collective. */
sb_status sb_reorder_reload(sb_model **model, const char *folder, const sb_orders *orders);

#endif
