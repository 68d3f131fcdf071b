/* Training: one step after another on a model whose weights, moments and gradients are spread over
 * the ranks.
 *
 *   sb_trainer_create    memory; the optimizer begins with moments 0
 *   sb_trainer_step      one batch: gradient, norm, clipping, AdamW
 *   sb_trainer_loss      the loss of other tokens at the present weights
 *
 * The model is f32 in the store (folders/hf_load.h, folders/fresh_model.h), and its units are the
 * master weights: a step changes them where they are, and the next pass gathers the new ones, layer
 * by layer. Products have the precisions of the pass (sb_pass_set_precisions of sb_trainer_pass),
 * in steps and in losses alike, and a caller may change them between steps. A batch is a number of
 * sequences; sequence s belongs to rank s mod ranks. The weights after a step have the same bits on
 * any number of ranks, of threads, and for any `activation_bytes` (train/gradient_sums.h says why).
 *
 * Memory of a rank: 20 bytes per weight that it owns (master, two moments, gradient sum), one layer
 * with its gradient, and the activations of its sequences (pass/pass.h). */
#ifndef SB_TRAIN_TRAINER_H
#define SB_TRAIN_TRAINER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "base/ticker.h"
#include "kernels/backend.h"
#include "model/model.h"
#include "pass/pass.h"
#include "train/optimizer.h"
#include "train/schedule.h"
#include "train/skip.h"

typedef struct sb_trainer sb_trainer;

typedef struct sb_trainer_options {
  sb_adamw adamw;
  sb_schedule schedule;
  double clip;      /* most that the gradient's norm may be; 0: no limit */
  double skip_loss; /* score (train/skip.h) of the loss above which a step is skipped; 0: none
                       is */
  double skip_norm; /* the same for the norm of the gradient before clipping */
  size_t batch;     /* sequences of a step, of all ranks */
  size_t seqlen;    /* tokens of each, at least 2 */
  uint64_t seed;    /* of stochastic rounding */
  size_t activation_bytes; /* bound on what this rank keeps from the way forward: inputs of layers,
                              then as much as fits of what layers compute (pass/pass.h) */
  sb_ticker ticker;        /* hears which share of a step is done */
} sb_trainer_options;

/* SB_ERR_USAGE, by the option that is wrong. Pure. */
sb_status sb_trainer_check(const sb_trainer_options *options);

/* `model` and `backend` outlive the trainer. SB_ERR_USAGE as above, SB_ERR_MEMORY, SB_ERR_INTERNAL
 * for a model that is not f32. Collective; all ranks fail together. */
sb_status sb_trainer_create(sb_model *model, sb_backend *backend, const sb_trainer_options *options,
                            sb_trainer **out);
/* Local. *trainer may be NULL. */
void sb_trainer_free(sb_trainer **trainer);

typedef enum sb_step_outcome {
  SB_STEP_TAKEN,
  SB_STEP_SKIPPED_LOSS, /* its loss stood out: weights and moments are as before */
  SB_STEP_SKIPPED_NORM  /* the norm of its gradient did */
} sb_step_outcome;

/* What a step did; equal on all ranks but for the seconds. */
typedef struct sb_step_report {
  uint64_t step; /* its number, from 0 */
  sb_step_outcome outcome;
  double loss; /* mean over the batch, before the update: nats per token */
  double norm; /* of the mean gradient, before clipping */
  double rate;
  double factor; /* of clipping; 1: not clipped */
  double score;  /* that the step was skipped for, else NaN */
  double pass_seconds, adding_seconds, reducing_seconds, update_seconds; /* adding, reducing: part
                                                                            of the pass */
} sb_step_report;

/* One step on `tokens` [sb_pass_local(world, batch), seqlen] of this rank, all below the
 * vocabulary; the caller's, read during the call. SB_ERR_NUMERIC where loss or gradient is no
 * number: weights, moments and progress are as before, and the message says what had it first. A
 * skipped step counts as a step, for the schedule and the data, but not as an update of AdamW.
 * Collective. */
sb_status sb_trainer_step(sb_trainer *trainer, const uint32_t *tokens, sb_step_report *report);

/* *loss = the mean loss of the first `count` <= batch sequences, `tokens` [sb_pass_local(world,
 * count), seqlen] of this rank, at the present weights. Collective. */
sb_status sb_trainer_loss(sb_trainer *trainer, const uint32_t *tokens, size_t count, double *loss);

/* How much of a step's gradient is noise of its precisions: keep_gradient before the step, at other
 * precisions of the pass and the step's tokens, and noise after it. *norm = the norm of the kept
 * mean gradient, *noise = that of the step's less the kept one, before clipping. Between the two,
 * 8 bytes more per weight that this rank owns. Weights, moments and progress stay. SB_ERR_NUMERIC
 * as above, SB_ERR_MEMORY; SB_ERR_INTERNAL where nothing is kept. Collective. */
sb_status sb_trainer_keep_gradient(sb_trainer *trainer, const uint32_t *tokens);
sb_status sb_trainer_noise(sb_trainer *trainer, double *norm, double *noise);

/* Where a run is: with the weights and moments of all units, all that its future depends on. */
typedef struct sb_trainer_progress {
  uint64_t step;    /* number of the next one */
  uint64_t updates; /* of AdamW so far: `step` minus the skipped ones */
  sb_skip_window losses, norms;
} sb_trainer_progress;

/* Local. After sb_trainer_resume, or after the caller has written weights or moments
 * (sb_trainer_optimizer), the next step begins there. */
sb_trainer_progress sb_trainer_progress_of(const sb_trainer *trainer);
void sb_trainer_resume(sb_trainer *trainer, const sb_trainer_progress *progress);

/* Weights and moments of this rank's units (train/optimizer.h), and the pass that steps are made
 * with, for other uses between steps; sb_trainer_set_batch gives it the tokens of the next step, as
 * sb_trainer_step would. Local. */
sb_optimizer *sb_trainer_optimizer(sb_trainer *trainer);
sb_pass *sb_trainer_pass(sb_trainer *trainer);
void sb_trainer_set_batch(sb_trainer *trainer, const uint32_t *tokens);
const sb_trainer_options *sb_trainer_options_of(const sb_trainer *trainer);

#endif
