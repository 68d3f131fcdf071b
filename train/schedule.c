#include "train/schedule.h"

#include <math.h>

static const double PI = 3.14159265358979323846;

const char *const sb_schedule_names[SB_SCHEDULE_CURVES + 1] = {"cosine", "linear", "constant",
                                                               "wsd", NULL};

sb_status sb_schedule_check(const sb_schedule *s) {
  if (!(s->peak > 0) || !isfinite(s->peak))
    return sb_fail(SB_ERR_USAGE, "a learning rate is a number above 0, not %g", s->peak);
  if (!(s->floor >= 0 && s->floor <= 1))
    return sb_fail(SB_ERR_USAGE, "the rate at the end is a share of the peak, 0 to 1, not %g",
                   s->floor);
  const size_t decay = s->curve == SB_SCHEDULE_WSD ? s->decay : 0;
  if (s->warmup > s->steps || decay > s->steps - s->warmup)
    return sb_fail(SB_ERR_USAGE,
                   "a warm-up of %zu steps and a decay of %zu do not fit into %zu steps; shorten "
                   "them, or train longer",
                   s->warmup, decay, s->steps);
  return SB_OK;
}

/* 1 where the fall begins, 0 where it ends; `at` in [0, 1] is the share of it that is done. */
static double shape(sb_schedule_curve curve, double at) {
  switch (curve) {
  case SB_SCHEDULE_COSINE:
    return 0.5 * (1 + cos(PI * at));
  case SB_SCHEDULE_LINEAR:
    return 1 - at;
  case SB_SCHEDULE_WSD:
    return 1 - sqrt(at);
  default:
    return 1;
  }
}

double sb_schedule_rate(const sb_schedule *s, size_t step) {
  if (step < s->warmup) return s->peak * (double)(step + 1) / (double)s->warmup;
  const size_t begin = s->curve == SB_SCHEDULE_WSD ? s->steps - s->decay : s->warmup;
  if (step < begin) return s->peak;
  const double at = step < s->steps ? (double)(step - begin) / (double)(s->steps - begin) : 1.0;
  return s->peak * (s->floor + (1 - s->floor) * shape(s->curve, at));
}
