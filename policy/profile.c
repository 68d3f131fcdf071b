#include "policy/profile.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/trace.h"

/* The size of the moves: their norm over that of the weights. Small enough for differences to be
 * linear in it, and large enough to stand out of the rounding of operands. On the demo model the
 * predictions are the same from 0.003 to 0.1 in f32; in bf16 0.1 is best, 0.03 predicts changes of
 * the update twice too large, 0.3 seven times (docs/snip.md). */
static double move_of(sb_dtype operand) {
  return operand == SB_F32 ? 0.03 : 0.1;
}

typedef struct run {
  const sb_profile_setup *setup;
  sb_profile_measured *out;
  sb_update_slope slope;
  sb_probe probe;
  sb_linear_sums *linears;
  sb_error_sums *errors;
  double step;
} run;

/* Tokens of each of `sequences` that are sampled: as many as the batch needs. */
static size_t sample_of(size_t sequences, size_t T) {
  return sb_min_size(T - 1, sb_div_up(SB_PROFILE_TOKENS, sequences));
}

static sb_status allocate(run *r) {
  const sb_profile_setup *u = r->setup;
  const size_t sequences = sb_pass_sequences(u->pass), matrices = u->model->arch.matrix_count;
  sb_linears linears = {0};
  sb_status status = sb_linears_of(&u->model->arch, &linears);
  SB_THEN(sb_profile_create(&linears, u->precisions, u->precision_count, &r->out->profile));
  sb_linears_free(&linears);
  SB_TRY(status);
  SB_TRY(sb_alloc(&r->out->changes, matrices * u->precision_count, sizeof(double), "profile"));
  SB_TRY(sb_alloc(&r->linears, sequences * matrices, sizeof *r->linears, "sums of a profile"));
  SB_TRY(sb_alloc(&r->errors, sequences * matrices * u->precision_count, sizeof *r->errors,
                  "sums of a profile"));
  r->out->sample = sample_of(sequences, sb_pass_seqlen(u->pass));
  return sb_probe_create(u->model, u->backend, u->pass, r->out->sample, u->seed, &r->probe);
}

static sb_status make_noise(run *r) {
  const sb_profile_setup *u = r->setup;
  const double begun = sb_now();
  r->step = move_of(u->backend->operand) * r->slope.weight_norm / r->slope.slope_norm;
  SB_SPAN(SB_TRACE_COMPUTE, "noise step", 0);
  SB_TRY(sb_update_slope_move(&r->slope, r->step, u->seed));
  sb_pass_forget(u->pass);
  const sb_status status = sb_probe_measure(&r->probe, u->pass, &r->out->noise_loss);
  /* Weights return also after a failure: the caller may go on training. */
  sb_update_slope_return(&r->slope);
  sb_pass_forget(u->pass);
  r->out->noise_seconds = sb_now() - begun;
  return status;
}

static sb_status take_errors(run *r) {
  const sb_profile_setup *u = r->setup;
  const sb_error_step_setup setup = {.pass = u->pass,
                                     .probe = &r->probe,
                                     .slope = &r->slope,
                                     .precisions = u->precisions,
                                     .precision_count = u->precision_count,
                                     .lowprec = u->lowprec,
                                     .seed = u->seed};
  const double begun = sb_now();
  SB_SPAN(SB_TRACE_COMPUTE, "error step", 0);
  SB_TRY(sb_error_step(&setup, r->linears, r->errors, &r->out->profile.loss));
  r->out->error_seconds = sb_now() - begun;
  return SB_OK;
}

static void conclude(run *r) {
  const sb_profile_setup *u = r->setup;
  sb_profile *profile = &r->out->profile;
  const sb_divergence_setup setup = {.arch = &u->model->arch,
                                     .slope = &r->slope,
                                     .step = r->step,
                                     .sequences = sb_pass_sequences(u->pass),
                                     .T = sb_pass_seqlen(u->pass),
                                     .linears = r->linears,
                                     .errors = r->errors};
  profile->step = u->step;
  profile->batch = setup.sequences;
  profile->seqlen = setup.T;
  sb_divergences(&setup, profile);
  for (size_t i = 0; i < profile->model.count; i++)
    for (size_t p = 0; p < profile->precision_count; p++)
      r->out->changes[i * profile->precision_count + p] =
          sb_expected_change(&setup, profile->precision_count, i, p);
  r->out->update_norm = r->slope.update_norm;
}

sb_status sb_profile_measure(const sb_profile_setup *setup, sb_profile_measured *out) {
  const double begun = sb_now();
  run r = {.setup = setup, .out = out};
  *out = (sb_profile_measured){0};
  sb_status status = sb_world_agree(setup->model->world, allocate(&r));
  SB_THEN(sb_update_slope_create(setup->optimizer, setup->adamw, &r.slope));
  out->slope_seconds = sb_now() - begun;
  SB_THEN(make_noise(&r));
  SB_THEN(take_errors(&r));
  if (status == SB_OK) conclude(&r);
  sb_probe_free(&r.probe);
  sb_update_slope_free(&r.slope);
  sb_free(&r.linears);
  sb_free(&r.errors);
  if (status != SB_OK) sb_profile_measured_free(out);
  return status;
}

void sb_profile_measured_free(sb_profile_measured *m) {
  sb_profile_free(&m->profile);
  sb_free(&m->changes);
}
