/* The learning rate of each step: it rises in a straight line over the first `warmup` steps, then
 * follows one of four curves. Pure, local, O(1). */
#ifndef SB_TRAIN_SCHEDULE_H
#define SB_TRAIN_SCHEDULE_H

#include <stddef.h>

#include "base/status.h"

typedef enum sb_schedule_curve {
  SB_SCHEDULE_COSINE,   /* half a cosine down to the floor (Loshchilov and Hutter, 1608.03983) */
  SB_SCHEDULE_LINEAR,   /* a straight line down to the floor */
  SB_SCHEDULE_CONSTANT, /* the peak */
  SB_SCHEDULE_WSD,      /* the peak, and over the last `decay` steps 1 - sqrt down to the floor
                           (warm-up, stable, decay: Haegele et al., 2405.18392) */
  SB_SCHEDULE_CURVES
} sb_schedule_curve;

/* "cosine", "linear", "constant", "wsd"; NULL behind the last. */
extern const char *const sb_schedule_names[SB_SCHEDULE_CURVES + 1];

typedef struct sb_schedule {
  sb_schedule_curve curve;
  double peak;   /* the highest rate, > 0 */
  double floor;  /* rate at the end over the peak, 0 .. 1 */
  size_t steps;  /* of the whole run: where the curve ends */
  size_t warmup; /* the first steps: step t < warmup has (t + 1) / warmup of the peak */
  size_t decay;  /* SB_SCHEDULE_WSD: the last steps */
} sb_schedule;

/* SB_ERR_USAGE, by the number that is wrong, for a rate or floor out of range, and for warm-up and
 * decay that together take more steps than the run has. */
sb_status sb_schedule_check(const sb_schedule *schedule);
/* The rate of step `step`, counted from 0. From `steps` on it stays at the floor (a constant one at
 * its peak). */
double sb_schedule_rate(const sb_schedule *schedule, size_t step);

#endif
