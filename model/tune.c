#include "model/tune.h"

#include <math.h>

#include "base/clock.h"
#include "base/memory.h"
#include "model/scale_gradients.h"

static const double PI = 3.14159265358979323846, WARM = 0.05; /* share of the steps in which the rate rises */

/* How far all is, from how far a pass is. */
typedef struct progress {
  const sb_tune_options *options;
  double before, share; /* of the running pass */
} progress;

/* What the forward pass of all sequences, which comes first, is of the whole: a gradient is four of them. */
static double learning_share(const sb_tune_options *o) {
  return 1.0 / (1.0 + 4.0 * o->epochs);
}

static void tick(void *context, double done) {
  const progress *p = context;
  if (p->options->tick) p->options->tick(p->options->context, p->before + p->share * done);
}

static double rate_at(double rate, size_t step, size_t steps) {
  const double at = ((double)step + 1) / (double)steps;
  return rate * (at < WARM ? at / WARM : 0.5 * (1 + cos(PI * (at - WARM) / (1 - WARM))));
}

/* Collective. */
static sb_status train(sb_pass *pass, sb_scales *scales, sb_scale_gradients *gradients, size_t sequences,
                       progress *p, sb_tune_stats *stats) {
  const sb_tune_options *o = p->options;
  const size_t batches = sb_div_up(sequences, o->batch), steps = batches * (size_t)o->epochs;
  stats->looked_at = sb_min_size(sequences, sb_max_size(o->batch, sequences / 16));
  p->share = 0;
  p->before = learning_share(o);
  sb_pass_select(pass, 0, stats->looked_at);
  SB_TRY(sb_pass_loss(pass, &stats->before));
  for (size_t s = 0; s < steps; s++) {
    const size_t k = s % batches;
    const float *g;
    double loss;
    p->share = (1.0 - learning_share(o)) / (double)steps;
    p->before = learning_share(o) + (double)s * p->share;
    sb_pass_select(pass, k * sequences / batches, (k + 1) * sequences / batches);
    SB_TRY(sb_scale_gradients_measure(gradients, pass, &g, &loss));
    const double begun = sb_now();
    sb_scales_step(scales, g, rate_at(o->rate, s, steps));
    stats->scale_seconds += sb_now() - begun;
  }
  p->share = 0;
  p->before = 1;
  sb_pass_select(pass, 0, stats->looked_at);
  SB_TRY(sb_pass_loss(pass, &stats->after));
  stats->steps = steps;
  stats->scale_seconds += sb_scale_gradients_seconds(gradients);
  return SB_OK;
}

/* A pass through `packed` that knows what the source weights predict. Collective. */
static sb_status create_pass(sb_model *source, sb_model *packed, sb_backend *b, const sb_sequences *sequences,
                             progress *p, sb_pass **out) {
  sb_pass *teacher = NULL;
  sb_pass_setup setup = sb_sequences_setup(sequences, source, b, p->options->activation_bytes, tick, p);
  setup.divergence = true;
  sb_status status = sb_pass_create(&setup, &teacher);
  if (status == SB_OK) status = sb_pass_learn(teacher);
  setup.model = packed;
  setup.gradients = true;
  setup.at_once = p->options->batch;
  if (status == SB_OK) status = sb_pass_create(&setup, out);
  if (status == SB_OK) status = sb_pass_learn_from(*out, teacher);
  sb_pass_free(&teacher);
  return status;
}

sb_status sb_tune(sb_model *source, sb_model *packed, sb_backend *backend, const sb_sequences *sequences,
                  const sb_tune_options *options, sb_tune_stats *stats) {
  progress p = {options, 0, learning_share(options)};
  sb_pass *pass = NULL;
  sb_scales *scales = NULL;
  sb_scale_gradients *gradients = NULL;
  *stats = (sb_tune_stats){0};
  sb_status status = create_pass(source, packed, backend, sequences, &p, &pass);
  if (status == SB_OK) status = sb_scales_create(packed, &scales);
  if (status == SB_OK) status = sb_scale_gradients_create(scales, packed, backend, &gradients);
  if (status == SB_OK) status = train(pass, scales, gradients, sequences->count, &p, stats);
  sb_scale_gradients_free(&gradients);
  sb_scales_free(&scales);
  sb_pass_free(&pass);
  return status;
}
