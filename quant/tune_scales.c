#include "quant/tune_scales.h"

#include <math.h>

#include "base/memory.h"
#include "base/trace.h"
#include "quant/checkpoint_key.h"
#include "quant/scale_gradients.h"
#include "quant/tune_checkpoint.h"

static const double PI = 3.14159265358979323846,
                    WARM = 0.05; /* share of the steps in which the rate rises */

size_t sb_tune_batch(size_t sequences) {
  return sb_max_size(1, sequences / SB_TUNE_STEPS);
}

double sb_tune_rate(size_t batch) {
  return 0.02 * sqrt((double)batch / 8);
}

size_t sb_tune_looked_at(size_t sequences, size_t batch) {
  return sb_min_size(sequences, sb_max_size(batch, sequences / 16));
}

static double rate_at(double rate, size_t step, size_t steps) {
  const double at = ((double)step + 1) / (double)steps;
  return rate * (at < WARM ? at / WARM : 0.5 * (1 + cos(PI * (at - WARM) / (1 - WARM))));
}

/* What training works with; `saved` is NULL without a checkpoint. */
typedef struct training {
  const sb_world *world;
  const sb_tune_options *options;
  size_t sequences;
  sb_pass *pass;
  sb_scales *scales;
  sb_scale_gradients *gradients;
  sb_key key; /* of `saved` */
  sb_tune_checkpoint *saved;
  sb_tune_checkpoint_progress done;
  double learning;        /* share of the forward pass of all sequences, which comes first */
  sb_ticker_part running; /* the pass that runs, as a part of all that this run has to do */
  sb_tune_stats *stats;
} training;

/* The divergence on the first sequences, before or after. Collective. */
static sb_status look(training *t, double at, double *divergence) {
  t->running.share = 0;
  t->running.first = at;
  sb_pass_select(t->pass, 0, t->stats->looked_at);
  return sb_pass_loss(t->pass, divergence);
}

/* One batch and the step that follows it. Collective. */
static sb_status learn(training *t, size_t step) {
  SB_SPAN(SB_TRACE_PHASE, "tuning step", step);
  const sb_tune_options *o = t->options;
  const size_t batches = sb_div_up(t->sequences, o->batch), k = step % batches;
  const float *g;
  double loss;
  t->running.share = (1.0 - t->learning) / (double)(t->stats->steps - t->stats->resumed);
  t->running.first = t->learning + (double)(step - t->stats->resumed) * t->running.share;
  sb_pass_select(t->pass, k * t->sequences / batches, (k + 1) * t->sequences / batches);
  SB_TRY(sb_scale_gradients_measure(t->gradients, t->pass, &g, &loss));
  SB_SPAN_INTO(&t->stats->scale_seconds, SB_TRACE_COMPUTE, "move scales", step);
  sb_scales_step(t->scales, g, rate_at(o->rate, step, t->stats->steps));
  return SB_OK;
}

/* Where training is to begin. Collective. */
static sb_status begin(training *t) {
  const sb_tune_options *o = t->options;
  sb_tune_stats *stats = t->stats;
  stats->steps = sb_div_up(t->sequences, o->batch) * (size_t)o->epochs;
  stats->looked_at = sb_tune_looked_at(t->sequences, o->batch);
  if (o->checkpoint)
    SB_TRY(
        sb_tune_checkpoint_open(o->checkpoint, &t->key, t->world, t->scales, &t->done, &t->saved));
  if (t->done.steps > stats->steps)
    return sb_fail(SB_ERR_FORMAT, "%s: damaged: it has %zu steps done, training takes %zu",
                   o->checkpoint, t->done.steps, stats->steps);
  stats->resumed = t->done.steps;
  /* a gradient is four forward passes */
  const double left = (double)(stats->steps - stats->resumed) / (double)stats->steps;
  t->learning = t->running.share = 1.0 / (1.0 + 4.0 * o->epochs * left);
  return SB_OK;
}

/* Collective. */
static sb_status train(training *t) {
  sb_tune_checkpoint_progress *done = &t->done;
  if (done->steps == 0) SB_TRY(look(t, t->learning, &done->before));
  while (done->steps < t->stats->steps) {
    SB_TRY(learn(t, done->steps++));
    if (t->saved) SB_TRY(sb_tune_checkpoint_offer(t->saved, done));
  }
  t->stats->before = done->before;
  t->stats->scale_seconds += sb_scale_gradients_seconds(t->gradients);
  return look(t, 1, &t->stats->after);
}

/* What trained scales depend on. Collective. */
static sb_status make_key(const sb_tune_options *o, sb_model *source, sb_model *packed,
                          const sb_backend *backend, const sb_sequences *sequences, sb_key *key) {
  sb_checkpoint_key_begin(key, source, backend);
  SB_TRY(
      sb_checkpoint_key_add_model(key, "model", "model or order of channels (--reorder)", source));
  SB_TRY(sb_checkpoint_key_add_model(key, "rounded", "bit map or rounding (--bits, --quantizer)",
                                     packed));
  SB_TRY(sb_checkpoint_key_add_tokens(key, "tokens",
                                      "calibration (--calib, --tune-seqs, --seqlen, --seed)",
                                      source->world, sequences));
  sb_key_add(key, "batch", "--tune-batch", "%zu", o->batch);
  sb_key_add(key, "epochs", "--tune-epochs", "%d", o->epochs);
  sb_key_add_real(key, "rate", "--tune-rate", o->rate);
  if (o->trained.norms)
    sb_key_add(key, "norms", "--tune-norms", "yes"); /* older files have no such entry */
  const sb_trained trained = sb_trained_of(packed, o->trained);
  if (trained.tables[0] || trained.tables[1])
    sb_key_add(key, "tables", "--tune-tables", "yes"); /* the same */
  return SB_OK;
}

/* A pass through `packed` that knows what the source weights predict. Collective. */
static sb_status create_pass(sb_model *source, sb_model *packed, sb_backend *b,
                             const sb_sequences *sequences, training *t, sb_pass **out) {
  sb_pass *teacher = NULL;
  sb_pass_setup setup = sb_sequences_setup(sequences, source, b, t->options->activation_bytes,
                                           sb_ticker_of_part(&t->running));
  setup.divergence = true;
  sb_status status = sb_pass_create(&setup, &teacher);
  SB_THEN(sb_pass_learn(teacher));
  setup.model = packed;
  setup.gradients = true;
  setup.norm_gradients = t->options->trained.norms;
  setup.at_once = t->options->batch;
  SB_THEN(sb_pass_create(&setup, out));
  SB_THEN(sb_pass_learn_from(*out, teacher));
  sb_pass_free(&teacher);
  return status;
}

/* After a failure of numbers, both models are as they were. Returns that failure. Collective. */
static sb_status undo(training *t, sb_model *source, sb_model *packed) {
  SB_TRY(sb_store_give_back(source->store));
  SB_TRY(sb_store_give_back(packed->store));
  if (t->scales) sb_scales_reset(t->scales);
  return SB_ERR_NUMERIC;
}

sb_status sb_tune(sb_model *source, sb_model *packed, sb_backend *backend,
                  const sb_sequences *sequences, const sb_tune_options *options,
                  sb_tune_stats *stats) {
  training t = {.world = source->world,
                .options = options,
                .sequences = sequences->count,
                .running = {.whole = options->ticker},
                .stats = stats};
  *stats = (sb_tune_stats){0};
  sb_status status =
      options->checkpoint ? make_key(options, source, packed, backend, sequences, &t.key) : SB_OK;
  SB_THEN(sb_scales_create(packed, options->trained, &t.scales));
  SB_THEN(begin(&t));
  SB_THEN(create_pass(source, packed, backend, sequences, &t, &t.pass));
  SB_THEN(sb_scale_gradients_create(t.scales, packed, backend, &t.gradients));
  SB_THEN(train(&t));
  if (status == SB_ERR_NUMERIC) status = undo(&t, source, packed);
  sb_tune_checkpoint_close(&t.saved);
  sb_scale_gradients_free(&t.gradients);
  sb_scales_free(&t.scales);
  sb_pass_free(&t.pass);
  return status;
}
