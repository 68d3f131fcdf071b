/* Training the scales of a quantized model towards what the source weights predict.
 *
 * Rounding looks at one matrix at a time; what it does to the model shows at the end, as the
 * divergence KL(source || quantized) of the predicted distributions (sb_pass_learn). The gradient
 * of that with respect to the logarithm of a group's scale is the sum of g w over the group
 * (quant/scale_gradients.h). One step of Adam follows each batch of sequences (quant/scales.h).
 * Codes, zero points and widths stay, so neither size nor format changes. (Scales alone trained end
 * to end: PEQA, arXiv 2305.14152; EfficientQAT, arXiv 2407.11062.) */
#ifndef SB_QUANT_TUNE_SCALES_H
#define SB_QUANT_TUNE_SCALES_H

#include "base/status.h"
#include "base/ticker.h"
#include "kernels/backend.h"
#include "model/model.h"
#include "pass/sequences.h"

typedef struct sb_tune_options {
  size_t batch; /* sequences of a step, about */
  int epochs;   /* times that all sequences are taken, 1 or more */
  double rate;  /* of the first steps (sb_scales_step); then it falls to 0, as half a cosine */
  size_t activation_bytes;
  const char *checkpoint; /* file to save to and resume from (quant/tune_checkpoint.h), or NULL */
  sb_ticker ticker;       /* told the share that is done */
} sb_tune_options;

typedef struct sb_tune_stats {
  size_t steps, resumed; /* all of them; those that were done before */
  size_t looked_at;      /* sequences, of a batch or of a sixteenth of all, of which */
  double before,
      after; /* are the mean divergences, in nats, before the first step and after the last */
  double scale_seconds; /* of this rank, beside passes */
} sb_tune_stats;

/* What is taken where nothing is asked for; docs/results.md has what led to it. SB_TUNE_STEPS
 * steps: with fewer the model gets less far, with more fewer ranks have something to do. A rate
 * that grows with the root of their number, as noise falls. Pure. */
enum { SB_TUNE_STEPS = 32 };
size_t sb_tune_batch(size_t sequences);
double sb_tune_rate(size_t batch);
/* Sequences on which the divergence is told before and after. Pure. */
size_t sb_tune_looked_at(size_t sequences, size_t batch);

/* `packed` (SB_CODING_CODES) is `source` (SB_CODING_SOURCE) in the same orders, rounded; `source`
 * is as before when the call returns. The same result on any number of ranks, bit for bit.
 * SB_ERR_NUMERIC where a loss or a gradient overflows, SB_ERR_FORMAT for a checkpoint of other
 * training. Collective. Memory of a rank beside both models: what a gradient pass over its
 * sequences of a batch takes; T x hidden activations for each of its sequences; scales and their
 * gradients (quant/scales.h, quant/scale_gradients.h). */
sb_status sb_tune(sb_model *source, sb_model *packed, sb_backend *backend,
                  const sb_sequences *sequences, const sb_tune_options *options,
                  sb_tune_stats *stats);

#endif
