/* The precisions of a training run as it goes on (`train --adapt`).
 *
 * Every so many steps a profile is measured beside the training (policy/profile.h), on the batch of
 * the step to come, and the solver chooses from it (policy/choose.h). The choice takes effect at
 * that step. Weights and moments stay as they are, and measured are only things that have the same
 * bits on any number of ranks. So a run that resumes from an earlier checkpoint makes the same
 * choices at the same steps, and one that resumes from a later checkpoint finds the choice there
 * (sb_adapt_state). Each choice is also an event, and a policy file.
 *
 * Two monitors watch the steps:
 *
 *   noise   At every second profile the gradient is taken in high precision too. Training stalls
 * where the gradient's norm falls below sqrt(3) times the norm of its rounding noise (Chmiel et
 *           al., 2505.19115). Then the share of FP4 that is aimed at is lowered by an eighth of
 *           itself, and the solver chooses again from the same profile.
 *   spikes  A step whose loss stands too far above those before it (train/skip.h) has a profile
 *           measured before the next one. A second one before the profile that is due lowers the
 *           share as above.
 *
 * For the last steps products of the forward pass can stay high, whatever was chosen: that closes
 * most of the gap that low precision leaves (2509.25149). */
#ifndef SB_POLICY_ADAPT_H
#define SB_POLICY_ADAPT_H

#include <jansson.h>

#include "policy/choose.h"
#include "train/run.h"

typedef struct sb_adapt sb_adapt;

#define SB_ADAPT_NOISE 1.7320508 /* sqrt(3) */

typedef struct sb_adapt_options {
  uint64_t every; /* steps from profile to profile, at multiples of it; 0: what is chosen at the
                     beginning stays */
  double share;   /* of the FLOPs of linear layers in FP4, at least */
  size_t precision_count;
  sb_precision precisions[SB_PRECISION_COUNT]; /* low ones to choose from, each once; the high one
                                                  too where all of these have 4 bits */
  sb_scores_kind scores;                       /* exact or norms */
  sb_decide_by by;
  double switch_cost;           /* sb_choose_options */
  size_t keep_first, keep_last; /* layers that stay high */
  double noise; /* the gradient's norm is this many times its noise's at least; 0: not watched */
  double spike; /* score of a loss that counts as a spike; 0: none does */
  uint64_t forward_high_from; /* step from which fprop is high; UINT64_MAX: none */
} sb_adapt_options;

typedef struct sb_adapt_setup {
  sb_trainer *trainer; /* stands where the run begins */
  sb_model *model;
  sb_backend *backend;
  const sb_lowprec_options *lowprec;
  sb_precision_map *map; /* what the trainer's pass has; kept up to date */
  /* tokens = those of batch `step` of this rank, as sb_trainer_step takes them. Local. */
  sb_status (*read)(void *context, uint64_t step, uint32_t *tokens);
  void *context;
  sb_events *events;  /* rank 0's, or NULL */
  const char *folder; /* for policy files (policy/adapt_folder.h); NULL: none */
  uint64_t seed;
} sb_adapt_setup;

/* Whether these options fit a model of this architecture: to be asked before its weights are
 * loaded. SB_ERR_RANGE where no policy has the share, with what is possible; SB_ERR_UNSUPPORTED, by
 * matrix, for a precision that a shape cannot carry; SB_ERR_MEMORY. keep_first and keep_last
 * together are no more than the layers. Local. */
sb_status sb_adapt_check(const sb_arch *arch, const sb_adapt_options *options);
/* All that the setup points at is borrowed; options, which sb_adapt_check has seen, are copied.
 * SB_ERR_MEMORY. Collective. */
sb_status sb_adapt_create(const sb_adapt_setup *setup, const sb_adapt_options *options,
                          sb_adapt **out);
/* Local. *adapt may be NULL. */
void sb_adapt_free(sb_adapt **adapt);

/* Around each step of the run (sb_run_steering): `before` measures and chooses where it is time,
 * sets the pass's precisions, and *shares to what they amount to; `after` listens to the monitors.
 * A profile that cannot be had, because a loss is no number say, leaves the precisions as they are
 * and says so. A profile costs some three steps with two precisions, and another one for the noise;
 * 8 bytes per weight of this rank until the step is made. Collective. */
sb_status sb_adapt_before(sb_adapt *adapt, uint64_t step, sb_flop_shares *shares);
sb_status sb_adapt_after(sb_adapt *adapt, const sb_step_report *report);

/* What a checkpoint must hold, an object that the caller owns; NULL where memory is short. Local.
 * sb_adapt_resume takes it back, before the first step. SB_ERR_FORMAT by key. Collective. */
json_t *sb_adapt_state(const sb_adapt *adapt);
sb_status sb_adapt_resume(sb_adapt *adapt, const json_t *state);

/* Profiles measured by this attempt. Local. */
uint64_t sb_adapt_profiles(const sb_adapt *adapt);

#endif
