/* Reordering a model: its channels are scored, ordered so that sensitive ones lie together
 * (sensitivity/channels.h), and the model is loaded again in that order. */
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
  size_t activation_bytes; /* for the layer inputs of a rank */
  sb_ticker ticker;
} sb_reorder_options;

typedef struct sb_reorder_result {
  unsigned width;          /* at which channels were scored */
  double loss;             /* at that width */
  double gradient_seconds; /* of this rank: the pass, scoring included */
  double score_seconds;    /* of this rank: scoring beside the pass */
} sb_reorder_result;

/* The width at which channels are scored: the largest uniform one within the budget, close to the
 * model's later bits; but at least 2, because at 1 bit gradients say nothing. Local. */
unsigned sb_reorder_width(const sb_model *model, sb_reorder mode, double bits);

/* Scores the channels of a model (SB_CODING_SOURCE, channels in the file's order). *orders = those
 * of options->mode; *indexed, unless NULL, = those of SB_REORDER_INDEXED by the same scores. All
 * bits are result->width afterwards. Collective. One gradient pass. */
sb_status sb_reorder_find(sb_model *model, sb_backend *backend, const sb_sequences *calibration,
                          const sb_reorder_options *options, sb_reorder_result *result,
                          sb_orders *orders, sb_orders *indexed);

/* Scores the channels of *model (SB_CODING_SOURCE, loaded from `folder` in the file's order),
 * releases it and loads it again in the orders found. The new *model has all bits 0, and the
 * importance of its input channels (quant/importance.h) if the old one had it. On failure *model
 * may be NULL. Collective. One gradient pass and one reading of the files. */
sb_status sb_reorder_model(sb_model **model, const char *folder, sb_backend *backend,
                           const sb_sequences *calibration, const sb_reorder_options *options,
                           sb_reorder_result *result);

/* The same with given orders, which are copied. Collective. */
sb_status sb_reorder_reload(sb_model **model, const char *folder, const sb_orders *orders);

#endif
