/* Training the scales of a coded model, those of its tables and the weights of its norms where that
 * is asked for, towards the predictions of the source weights.
 *
 * Rounding looks at one matrix at a time; its effect on the model is the divergence KL(source ||
 * coded) of the predicted distributions (sb_pass_learn). One step of Adam follows each batch of
 * sequences. quant/scale_numbers.h says which numbers are trained, quant/scale_gradients.h where
 * their gradients come from, quant/scales.h how they move. Codes, zero points and widths stay, so
 * neither size nor format changes. Scales alone are trained end to end in PEQA (arXiv 2305.14152)
 * and EfficientQAT (arXiv 2407.11062), vectors of channels and norms in QuIP# (arXiv 2402.04396)
 * and QTIP (arXiv 2406.11235). */
#ifndef SB_QUANT_TUNE_SCALES_H
#define SB_QUANT_TUNE_SCALES_H

#include <stdbool.h>

#include "base/status.h"
#include "base/ticker.h"
#include "kernels/backend.h"
#include "model/model.h"
#include "pass/sequences.h"
#include "quant/scale_numbers.h"

typedef struct sb_tune_options {
  size_t batch;            /* sequences per step, about */
  sb_trained trained;      /* beside the matrices of layers; tables without codes are not */
  int epochs;              /* times that all sequences are taken, 1 or more */
  double rate;             /* of the first steps (sb_scales_step); it falls to 0 as half a cosine */
  size_t activation_bytes; /* for the layer inputs of a rank */
  const char *checkpoint;  /* file to save to and resume from (quant/tune_checkpoint.h), or NULL */
  sb_ticker ticker;        /* told the share that is done */
} sb_tune_options;

typedef struct sb_tune_stats {
  size_t steps, resumed; /* all steps; those that the checkpoint had */
  size_t looked_at;      /* sequences whose divergence is measured (sb_tune_looked_at) */
  double before,
      after; /* their mean divergence, nats per token: before the first step, after the last */
  double scale_seconds; /* of this rank, beside passes */
} sb_tune_stats;

/* Defaults of batch and rate; docs/results.md has the measurements behind them. The batch gives
 * SB_TUNE_STEPS steps: fewer steps train less, more steps leave fewer sequences per step, and so
 * ranks without work. The rate grows with the square root of the batch, as noise falls. Pure. */
enum { SB_TUNE_STEPS = 32 };
size_t sb_tune_batch(size_t sequences);
double sb_tune_rate(size_t batch);
/* Number of sequences whose divergence is measured: a batch, or a sixteenth of all. Pure. */
size_t sb_tune_looked_at(size_t sequences, size_t batch);

/* Trains the scales of `coded` (SB_CODING_CODES): `source` (SB_CODING_SOURCE) rounded, in the same
 * orders. `source` is unchanged when the call returns. The result has the same bits for any number
 * of ranks. SB_ERR_NUMERIC where a loss or gradient overflows: the scales are then as they were
 * before training, and the coded model is good. SB_ERR_FORMAT for a checkpoint of other training.
 * Collective; all ranks fail together.
 *
 * Memory of a rank beside both models: a gradient pass over its sequences of a
 * batch; T x hidden activations per sequence of the rank; scales and their
 * gradients (quant/scales.h, quant/scale_gradients.h). */
sb_status sb_tune(sb_model *source, sb_model *coded, sb_backend *backend,
                  const sb_sequences *sequences, const sb_tune_options *options,
                  sb_tune_stats *stats);

#endif
