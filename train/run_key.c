#include "train/run_key.h"

#include <inttypes.h>

#include "mpi/large.h"
#include "pass/fingerprint.h"
#include "train/state_writer.h"

static sb_status add_data(sb_key *key, const sb_run_key_parts *p) {
  uint64_t model, state = sb_state_sum(sb_trainer_optimizer(p->trainer)), files, weights;
  SB_TRY(sb_model_fingerprint(p->model, &model));
  SB_TRY(sb_mpi_sum_u64(&state, 1, p->model->world->comm));
  SB_TRY(sb_train_data_fingerprint(p->data, &files, &weights));
  sb_key_add_hash(key, "model", "model (MODEL, or --seed of random weights)", model);
  sb_key_add_hash(key, "optimizer", "--optimizer", state);
  sb_key_add_hash(key, "tokens", "set of token files (--tokens)", files);
  sb_key_add_hash(key, "token_weights", "set of weights of token files (--tokens)", weights);
  return SB_OK;
}

/* A rate that stays is of any number of steps. */
static void add_schedule(sb_key *key, const sb_schedule *s) {
  const bool falls = s->curve != SB_SCHEDULE_CONSTANT;
  sb_key_add_real(key, "lr", "--lr", s->peak);
  sb_key_add(key, "schedule", "--schedule", "%s", sb_schedule_names[s->curve]);
  sb_key_add(key, "warmup", "--warmup", "%zu", s->warmup);
  if (falls) {
    sb_key_add(key, "steps", "--steps", "%zu", s->steps);
    sb_key_add_real(key, "min_lr", "--min-lr", s->floor);
  } else {
    sb_key_add(key, "steps", "--steps", SB_KEY_NONE);
    sb_key_add(key, "min_lr", "--min-lr", SB_KEY_NONE);
  }
  if (s->curve == SB_SCHEDULE_WSD)
    sb_key_add(key, "cooldown", "--cooldown", "%zu", s->decay);
  else
    sb_key_add(key, "cooldown", "--cooldown", SB_KEY_NONE);
}

static void add_optimizer(sb_key *key, const sb_trainer_options *o) {
  sb_key_add_real(key, "beta1", "--beta1", o->adamw.beta1);
  sb_key_add_real(key, "beta2", "--beta2", o->adamw.beta2);
  sb_key_add_real(key, "eps", "--eps", o->adamw.eps);
  sb_key_add_real(key, "decay", "--decay", o->adamw.decay);
  sb_key_add_real(key, "clip", "--clip", o->clip);
  sb_key_add_real(key, "skip_loss", "--skip-loss", o->skip_loss);
  sb_key_add_real(key, "skip_norm", "--skip-norm", o->skip_norm);
}

sb_status sb_run_key_make(const sb_run_key_parts *p, sb_key *key) {
  const sb_trainer_options *o = sb_trainer_options_of(p->trainer);
  *key = (sb_key){0};
  sb_key_add(key, "device", "--device", "%s", p->backend->name);
  sb_key_add(key, "compute", "--compute", "%s", p->backend->operand == SB_BF16 ? "bf16" : "f32");
  sb_key_add(key, "products", "kind of processors (f32 products by AMX)", "%s",
             p->backend->split_f32 ? "AMX" : "f32");
  sb_key_add(key, "batch", "--batch", "%zu", o->batch);
  sb_key_add(key, "seqlen", "--seqlen", "%zu", o->seqlen);
  sb_key_add(key, "seed", "--seed", "%" PRIu64, o->seed);
  SB_TRY(add_data(key, p));
  add_schedule(key, &o->schedule);
  add_optimizer(key, o);
  return SB_OK;
}
