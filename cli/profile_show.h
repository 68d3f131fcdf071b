/* A profile, and how well it predicts, for people. With `out` NULL nothing is written. Local. */
#ifndef SB_CLI_PROFILE_SHOW_H
#define SB_CLI_PROFILE_SHOW_H

#include <stdio.h>

#include "policy/truth.h"

/* Sums by precision, the linears that err most, seconds; `step_seconds` of a training step, 0 where
 * none was timed. */
void sb_profile_show(FILE *out, const sb_profile_measured *measured, double step_seconds);
/* Rank correlations of predictions with the truth, and how predictions add up. */
void sb_profile_show_truth(FILE *out, const sb_profile_measured *measured, const sb_truth *truth);

#endif
