#include "train/run_key.h"

#include <inttypes.h>

#include "mpi/large.h"
#include "pass/fingerprint.h"
#include "train/state_writer.h"

static void add_number(sb_key *key, const char *name, const char *meaning, uint64_t number) {
  sb_key_add(key, name, meaning, "%016" PRIx64, number);
}

static sb_status add_data(sb_key *key, const sb_run_key_parts *p) {
  uint64_t model, state = sb_state_sum(sb_trainer_optimizer(p->trainer)), files, weights;
  SB_TRY(sb_model_fingerprint(p->model, &model));
  SB_TRY(sb_mpi_sum_u64(&state, 1, p->model->world->comm));
  SB_TRY(sb_train_data_fingerprint(p->data, &files, &weights));
  add_number(key, "model", "model (MODEL, or --seed of random weights)", model);
  add_number(key, "optimizer", "--optimizer", state);
  add_number(key, "tokens", "token files (--tokens)", files);
  add_number(key, "token_weights", "weights of token files (--tokens)", weights);
  return SB_OK;
}

static void add_schedule(sb_key *key, const sb_schedule *s) {
  sb_key_add(key, "lr", "--lr", "%.17g", s->peak);
  sb_key_add(key, "schedule", "--schedule", "%s", sb_schedule_names[s->curve]);
  sb_key_add(key, "warmup", "--warmup", "%zu", s->warmup);
  if (s->curve == SB_SCHEDULE_CONSTANT) return; /* the rest is of no account */
  sb_key_add(key, "steps", "--steps", "%zu", s->steps);
  sb_key_add(key, "min_lr", "--min-lr", "%.17g", s->floor);
  if (s->curve == SB_SCHEDULE_WSD) sb_key_add(key, "cooldown", "--cooldown", "%zu", s->decay);
}

static void add_rounding(sb_key *key, const sb_lowprec_options *o) {
  if (!o) return;
  sb_key_add(key, "rounding", "rounding to low precision (--stochastic, --hadamard, ...)",
             "%d%d %d %d%d %d %d", o->stochastic, o->stochastic_fp8, (int)o->mxfp4_scale,
             o->nvfp4_two_scales, o->nvfp4_hadamard, o->fp8_128_f32_scales, (int)o->fp8_dy);
}

sb_status sb_run_key_make(const sb_run_key_parts *p, sb_key *key) {
  const sb_trainer_options *o = sb_trainer_options_of(p->trainer);
  *key = (sb_key){0};
  sb_key_add(key, "device", "--device", "%s", p->backend->name);
  sb_key_add(key, "compute", "--compute", "%s", p->backend->operand == SB_BF16 ? "bf16" : "f32");
  sb_key_add(key, "products", "processors (f32 products by AMX)", "%s",
             p->backend->split_f32 ? "AMX" : "f32");
  sb_key_add(key, "batch", "--batch", "%zu", o->batch);
  sb_key_add(key, "seqlen", "--seqlen", "%zu", o->seqlen);
  sb_key_add(key, "seed", "--seed", "%" PRIu64, o->seed);
  SB_TRY(add_data(key, p));
  add_schedule(key, &o->schedule);
  sb_key_add(key, "adamw", "--beta1, --beta2, --eps or --decay", "%.9g %.9g %.9g %.9g",
             o->adamw.beta1, o->adamw.beta2, o->adamw.eps, o->adamw.decay);
  sb_key_add(key, "clip", "--clip", "%.17g", o->clip);
  sb_key_add(key, "skip", "--skip-loss or --skip-norm", "%.9g %.9g", o->skip_loss, o->skip_norm);
  sb_key_add(key, "precision", "precision (--precision, --policy, --keep-first, --keep-last)", "%s",
             p->precision);
  if (p->adaptive[0])
    sb_key_add(key, "adaptive", "precisions that change (--adapt..., --forward-high)", "%s",
               p->adaptive);
  add_rounding(key, p->lowprec);
  return SB_OK;
}
