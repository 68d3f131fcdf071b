#include "policy/warm_up.h"

#include "base/clock.h"
#include "base/trace.h"

static sb_status step(const sb_warm_up_setup *u, uint64_t number) {
  const sb_world *world = u->optimizer->shares->model->world;
  double loss;
  SB_SPAN(SB_TRACE_PHASE, "warm-up step", (int64_t)number);
  SB_AGREE(world, u->set_batch(u->context, number));
  SB_TRY(sb_gradient_sums_measure(u->sums, u->pass, &loss));
  /* At rate 0 the weights keep their bits. */
  sb_optimizer_step_args args = {.adamw = u->adamw, .rate = 0, .factor = 1};
  args.sums = sb_gradient_sums_owned(u->sums, &args.scale);
  sb_optimizer_step(u->optimizer, &args);
  return SB_OK;
}

sb_status sb_warm_up(const sb_warm_up_setup *u, double *seconds) {
  const double begun = sb_now();
  for (uint64_t number = 0; number < u->steps; number++) SB_TRY(step(u, number));
  *seconds = (sb_now() - begun) / (double)u->steps;
  return SB_OK;
}
