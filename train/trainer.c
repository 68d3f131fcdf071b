#include "train/trainer.h"

#include <math.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/random.h"
#include "base/trace.h"
#include "train/first_bad.h"
#include "train/gradient_sums.h"

struct sb_trainer {
  sb_model *model;
  sb_backend *backend;
  sb_trainer_options options;
  sb_shares shares;
  sb_optimizer optimizer;
  sb_gradient_sums *sums;
  sb_pass *pass;
  sb_trainer_progress progress; /* `updates` is the optimizer's */
  int64_t *kept;                /* sums of a gradient, or NULL (sb_trainer_keep_gradient) */
  double kept_norm;
};

sb_status sb_trainer_check(const sb_trainer_options *o) {
  SB_TRY(sb_adamw_check(&o->adamw));
  SB_TRY(sb_schedule_check(&o->schedule));
  if (!(o->clip >= 0))
    return sb_fail(SB_ERR_USAGE, "gradients are clipped at a norm above 0, or 0 for never, not %g",
                   o->clip);
  if (!(o->skip_loss >= 0 && o->skip_norm >= 0))
    return sb_fail(SB_ERR_USAGE, "steps are skipped above a score of at least 0, not %g",
                   o->skip_loss >= 0 ? o->skip_norm : o->skip_loss);
  if (o->batch == 0 || o->seqlen < 2)
    return sb_fail(SB_ERR_USAGE, "a batch is at least one sequence of two tokens, not %zu of %zu",
                   o->batch, o->seqlen);
  if (o->batch > SB_GRADIENT_SEQUENCES)
    return sb_fail(SB_ERR_USAGE,
                   "exact sums of gradients have room for %d sequences in a batch, not %zu; take "
                   "fewer and longer ones",
                   SB_GRADIENT_SEQUENCES, o->batch);
  return SB_OK;
}

static sb_status create_pass(sb_trainer *t) {
  const sb_trainer_options *o = &t->options;
  sb_pass_setup setup = {.model = t->model,
                         .backend = t->backend,
                         .sequences = o->batch,
                         .seqlen = o->seqlen,
                         .gradients = true,
                         .all_gradients = true,
                         .activation_bytes = o->activation_bytes,
                         .ticker = o->ticker};
  setup.keep_bytes = sb_pass_spare_bytes(&setup);
  return sb_pass_create(&setup, &t->pass);
}

sb_status sb_trainer_create(sb_model *model, sb_backend *backend, const sb_trainer_options *options,
                            sb_trainer **out) {
  *out = NULL;
  SB_TRY(sb_trainer_check(options));
  SB_TRY(sb_world_alloc(model->world, out, sizeof **out, "trainer"));
  sb_trainer *t = *out;
  t->model = model;
  t->backend = backend;
  t->options = *options;
  sb_status status = sb_shares_create(model, &t->shares);
  SB_THEN(sb_optimizer_create(&t->shares, &t->optimizer));
  status = sb_world_agree(model->world, status);
  SB_THEN(sb_gradient_sums_create(&t->shares, backend, options->batch, &t->sums));
  SB_THEN(create_pass(t));
  if (status != SB_OK) sb_trainer_free(out);
  return status;
}

void sb_trainer_free(sb_trainer **trainer) {
  sb_trainer *t = *trainer;
  if (!t) return;
  sb_pass_free(&t->pass);
  sb_gradient_sums_free(&t->sums);
  sb_optimizer_free(&t->optimizer);
  sb_shares_free(&t->shares);
  sb_free(&t->kept);
  sb_free(trainer);
}

/* The key of a step's random bits: seeds and steps in a row have nothing in common. */
static uint64_t key_of(uint64_t seed, uint64_t step) {
  return sb_mix64_with(seed, step);
}

void sb_trainer_set_batch(sb_trainer *t, const uint32_t *tokens) {
  sb_pass_set_batch(t->pass, tokens, key_of(t->options.seed, t->progress.step));
  sb_pass_select(t->pass, 0, t->options.batch);
}

/* Loss and gradient of the batch. Collective. */
static sb_status measure_sums(sb_trainer *t, double *loss) {
  const sb_status status = sb_gradient_sums_measure(t->sums, t->pass, loss);
  if (status != SB_ERR_NUMERIC) return status;
  SB_TRY(sb_store_give_back(t->model->store));
  return sb_first_bad(&t->shares, t->backend, t->pass, SB_GRADIENT_LIMIT, status);
}

/* The same, and the norm. Collective. */
static sb_status measure(sb_trainer *t, const uint32_t *tokens, sb_step_report *r) {
  const double adding = sb_gradient_sums_adding(t->sums),
               reducing = sb_gradient_sums_reducing(t->sums), begin = sb_now();
  sb_trainer_set_batch(t, tokens);
  SB_TRY(measure_sums(t, &r->loss));
  SB_TRY(sb_gradient_sums_norm(t->sums, NULL, &r->norm));
  r->pass_seconds = sb_now() - begin;
  r->adding_seconds = sb_gradient_sums_adding(t->sums) - adding;
  r->reducing_seconds = sb_gradient_sums_reducing(t->sums) - reducing;
  return SB_OK;
}

static void judge(sb_trainer *t, sb_step_report *r) {
  const sb_trainer_options *o = &t->options;
  sb_trainer_progress *p = &t->progress;
  const double loss = sb_skip_score(&p->losses, r->loss), norm = sb_skip_score(&p->norms, r->norm);
  sb_skip_enter(&p->losses, r->loss);
  sb_skip_enter(&p->norms, r->norm);
  r->score = NAN;
  if (o->skip_loss > 0 && loss > o->skip_loss) {
    r->outcome = SB_STEP_SKIPPED_LOSS;
    r->score = loss;
  } else if (o->skip_norm > 0 && norm > o->skip_norm) {
    r->outcome = SB_STEP_SKIPPED_NORM;
    r->score = norm;
  }
}

static void update(sb_trainer *t, sb_step_report *r) {
  const sb_trainer_options *o = &t->options;
  sb_optimizer_step_args args = {.adamw = o->adamw, .rate = r->rate};
  SB_SPAN_INTO(&r->update_seconds, SB_TRACE_COMPUTE, "update weights", r->step);
  /* as torch.nn.utils.clip_grad_norm_ */
  if (o->clip > 0) r->factor = fmin(1, o->clip / (r->norm + 1e-6));
  args.factor = r->factor;
  args.sums = sb_gradient_sums_owned(t->sums, &args.scale);
  sb_optimizer_step(&t->optimizer, &args);
}

sb_status sb_trainer_step(sb_trainer *t, const uint32_t *tokens, sb_step_report *r) {
  SB_SPAN(SB_TRACE_PHASE, "training step", (int64_t)t->progress.step);
  *r = (sb_step_report){.step = t->progress.step,
                        .rate = sb_schedule_rate(&t->options.schedule, t->progress.step),
                        .factor = 1};
  SB_TRY(measure(t, tokens, r));
  judge(t, r);
  if (r->outcome == SB_STEP_TAKEN) update(t, r);
  sb_pass_forget(t->pass);
  t->progress.step++;
  return SB_OK;
}

sb_status sb_trainer_loss(sb_trainer *t, const uint32_t *tokens, size_t count, double *loss) {
  sb_pass_set_batch(t->pass, tokens, key_of(t->options.seed, t->progress.step));
  sb_pass_select(t->pass, 0, count);
  return sb_pass_loss(t->pass, loss);
}

sb_status sb_trainer_keep_gradient(sb_trainer *t, const uint32_t *tokens) {
  const size_t count = t->shares.elements;
  sb_step_report report;
  double scale;
  if (!t->kept) SB_AGREE(t->model->world, sb_alloc(&t->kept, count, sizeof *t->kept, "gradient"));
  SB_TRY(measure(t, tokens, &report));
  memcpy(t->kept, sb_gradient_sums_owned(t->sums, &scale), count * sizeof *t->kept);
  t->kept_norm = report.norm;
  sb_pass_forget(t->pass);
  return SB_OK;
}

sb_status sb_trainer_noise(sb_trainer *t, double *norm, double *noise) {
  if (!t->kept) return sb_fail(SB_ERR_INTERNAL, "no gradient is kept to compare with");
  const sb_status status = sb_gradient_sums_norm(t->sums, t->kept, noise);
  *norm = t->kept_norm;
  sb_free(&t->kept);
  return status;
}

sb_trainer_progress sb_trainer_progress_of(const sb_trainer *t) {
  sb_trainer_progress p = t->progress;
  p.updates = t->optimizer.updates;
  return p;
}

void sb_trainer_resume(sb_trainer *t, const sb_trainer_progress *progress) {
  t->progress = *progress;
  t->optimizer.updates = progress->updates;
  sb_pass_forget(t->pass);
}

sb_optimizer *sb_trainer_optimizer(sb_trainer *t) {
  return &t->optimizer;
}

sb_pass *sb_trainer_pass(sb_trainer *t) {
  return t->pass;
}

const sb_trainer_options *sb_trainer_options_of(const sb_trainer *t) {
  return &t->options;
}
