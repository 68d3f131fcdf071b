#include "policy/adapt.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/log.h"
#include "base/memory.h"
#include "base/text.h"
#include "base/trace.h"
#include "io/file.h"
#include "io/json.h"
#include "mpi/large.h"
#include "policy/adapt_folder.h"
#include "policy/outcome.h"
#include "policy/profile.h"

#define LOWERED 0.875 /* of the share, where a monitor asks for more precision */

/* Why a profile is measured. */
typedef enum reason { NO_REASON, BEGINS, IS_DUE, LOSS_SPIKED, REASONS } reason;
static const char *const reason_names[REASONS + 1] = {"none", "begins", "due", "spike", NULL};

struct sb_adapt {
  sb_adapt_setup setup;
  sb_adapt_options options;
  const sb_world *world;
  sb_linears linears;
  sb_precision *forced; /* [linears] */
  sb_precision_map chosen;
  uint32_t *tokens;
  sb_skip_window losses; /* before the step at hand */
  sb_profile profile;    /* of the step at hand, between before and after; else empty */
  uint64_t profiles;
  bool listens; /* a gradient is kept for the noise of the step at hand */
  bool changed; /* the pass does not have what is chosen yet */
  /* The state of a checkpoint. */
  double share;    /* aimed at */
  uint64_t since;  /* step at which `chosen` took effect */
  uint64_t spikes; /* since the last profile that was due */
  reason next;     /* of a profile before the next step, if no other is due then */
};

/* ---- life cycle ---- */

/* What the solver is asked. */
static sb_choose_options question(const sb_adapt *a, const sb_profile *profile) {
  const sb_adapt_options *o = &a->options;
  sb_choose_options q = {.scoring = {o->scores, profile->combine, 1},
                         .by = o->by,
                         .forced = a->forced,
                         .kind = SB_TARGET_SHARE,
                         .target = a->share,
                         .scope = SB_SCOPE_MODEL,
                         .switch_cost = o->switch_cost};
  sb_choose_candidates(o->precisions, o->precision_count, &q);
  return q;
}

/* How much of the FLOPs can be in FP4, and whether the shapes carry the formats. */
static sb_status check_shapes(const sb_arch *arch, const sb_adapt_options *o, double *most) {
  sb_precision_map map;
  sb_status status = sb_precision_map_create(arch, SB_PRECISION_HIGH, &map);
  *most = 0;
  for (size_t p = 0; status == SB_OK && p < o->precision_count; p++) {
    sb_precision_map_set_layers(&map, arch, o->keep_first, arch->config.layers - o->keep_last,
                                o->precisions[p]);
    status = sb_precision_map_check(&map, arch, "train --adapt");
    *most = fmax(*most, sb_precision_map_share(&map, arch, 4));
  }
  sb_precision_map_free(&map);
  return status;
}

sb_status sb_adapt_check(const sb_arch *arch, const sb_adapt_options *o) {
  bool has_fp4 = false;
  double most;
  char text[SB_TEXT_SIZE];
  if (!o->every) return SB_OK;
  for (size_t p = 0; p < o->precision_count; p++)
    has_fp4 = has_fp4 || sb_precision_bits(o->precisions[p]) == 4;
  if (!has_fp4 && o->share > 0)
    return sb_fail(
        SB_ERR_RANGE,
        "train: --adapt-target %g is a share of fp4, and --adapt-precision has no format "
        "of 4 bits; add one (nvfp4, say), or give --adapt-target 0",
        o->share);
  SB_TRY(check_shapes(arch, o, &most));
  if (o->share * (1 - 1e-12) <= most) return SB_OK;
  sb_text_limit(text, sizeof text, most, false);
  return sb_fail(SB_ERR_RANGE,
                 "train: --adapt-target %g is out of reach: with the %zu of %zu layers that "
                 "--keep-first and --keep-last name, at most %s of the FLOPs can be in fp4; lower "
                 "--adapt-target, or keep fewer layers",
                 o->share, o->keep_first + o->keep_last, arch->config.layers,
                 most > 0 ? text : "0");
}

static sb_status prepare(sb_adapt *a) {
  const sb_arch *arch = &a->setup.model->arch;
  const sb_trainer_options *t = sb_trainer_options_of(a->setup.trainer);
  const sb_forced_options forced = {NULL, a->options.keep_first, a->options.keep_last};
  SB_TRY(sb_precision_map_create(arch, SB_PRECISION_HIGH, &a->chosen));
  sb_precision_map_copy(&a->chosen, a->setup.map);
  SB_TRY(sb_linears_of(arch, &a->linears));
  if (!a->options.every) return SB_OK;
  SB_TRY(sb_alloc(&a->tokens, sb_pass_local(a->world, t->batch) * t->seqlen, sizeof *a->tokens,
                  "tokens of a batch"));
  SB_TRY(sb_alloc(&a->forced, a->linears.count, sizeof *a->forced, "forced precisions"));
  return sb_forced_set(&a->linears, &forced, a->forced);
}

sb_status sb_adapt_create(const sb_adapt_setup *setup, const sb_adapt_options *options,
                          sb_adapt **out) {
  const sb_world *world = setup->model->world;
  *out = NULL;
  SB_TRY(sb_world_alloc(world, out, sizeof **out, "adaptive precision"));
  sb_adapt *a = *out;
  a->setup = *setup;
  a->options = *options;
  a->world = world;
  a->share = options->share;
  /* A run that begins with moments of another one need not wait. */
  a->next = sb_trainer_progress_of(setup->trainer).updates > 0 ? BEGINS : NO_REASON;
  a->changed = true;
  const sb_status status = sb_world_agree(world, prepare(a));
  if (status != SB_OK) sb_adapt_free(out);
  return status;
}

void sb_adapt_free(sb_adapt **adapt) {
  sb_adapt *a = *adapt;
  if (!a) return;
  sb_profile_free(&a->profile);
  sb_precision_map_free(&a->chosen);
  sb_linears_free(&a->linears);
  sb_free(&a->forced);
  sb_free(&a->tokens);
  sb_free(adapt);
}

/* ---- choosing ---- */

static size_t differences(const sb_precision_map *a, const sb_policy *b) {
  size_t count = 0;
  for (size_t i = 0; i < a->count; i++)
    for (int gemm = 0; gemm < SB_GEMM_KINDS; gemm++)
      count += a->gemms[i][gemm] != b->choices[i].gemm[gemm];
  return count;
}

/* A choice: the first step that it is for, counted from 0, and the steps that are done when it is
 * told of, in events. The two differ before a step: a checkpoint may have been saved there, and a
 * run that goes on from it makes the choice again, and tells of it again (io/events.h). */
typedef struct moment {
  uint64_t step, told;
  const char *why;
} moment;

static sb_status tell_choice(const sb_adapt *a, const moment *at, const sb_choose_options *q,
                             const sb_policy *policy) {
  char path[SB_PATH_MAX];
  double score;
  const sb_divergence d = sb_scoring_predict(&a->profile, &q->scoring, policy, &score);
  const size_t changes = differences(&a->chosen, policy);
  path[0] = 0;
  if (a->setup.folder) SB_TRY(sb_adapt_folder_write(a->setup.folder, at->step, policy, path));
  sb_log_line("step %" PRIu64 ": precisions chosen anew (%s): %.1f%% of the FLOPs of linear layers "
              "in fp4, %.1f%% in fp8; %zu of %zu GEMMs changed",
              at->step, at->why, 100 * sb_policy_share(policy, 4), 100 * sb_policy_share(policy, 8),
              changes, a->linears.count * SB_GEMM_KINDS);
  if (!a->setup.events) return SB_OK;
  json_t *event = sb_event("policy", at->told);
  json_object_set_new(event, "why", json_string(at->why));
  json_object_set_new(event, "from", json_integer((json_int_t)at->step));
  sb_event_real(event, "target", q->target);
  sb_event_real(event, "fp4_share", sb_policy_share(policy, 4));
  sb_event_real(event, "fp8_share", sb_policy_share(policy, 8));
  json_object_set_new(event, "changed", json_integer((json_int_t)changes));
  sb_event_real(event, "predicted_loss", d.loss);
  sb_event_real(event, "predicted_weight", d.weight);
  if (path[0]) json_object_set_new(event, "path", json_string(path));
  return sb_events_write(a->setup.events, event);
}

/* On rank 0: the policy for the present profile and share, into `chosen`. */
static sb_status choose_alone(sb_adapt *a, const moment *at) {
  static const char what[] = "profile of the run";
  sb_policy present = {0}, policy = {0};
  sb_choose_result result;
  sb_choose_options q = question(a, &a->profile);
  SB_TRY(sb_policy_create(&a->linears, &present));
  for (size_t i = 0; i < a->linears.count; i++)
    memcpy(present.choices[i].gemm, a->chosen.gemms[i], sizeof present.choices[i].gemm);
  q.present = &present;
  sb_status status = sb_choose(what, &a->profile, &q, &policy, &result);
  SB_THEN(sb_outcome_describe("exact", what, &a->profile, &q, &result, &policy));
  SB_THEN(tell_choice(a, at, &q, &policy));
  for (size_t i = 0; status == SB_OK && i < a->linears.count; i++)
    memcpy(a->chosen.gemms[i], policy.choices[i].gemm, sizeof a->chosen.gemms[i]);
  sb_policy_free(&policy);
  sb_policy_free(&present);
  return status;
}

/* Collective. */
static sb_status choose(sb_adapt *a, uint64_t step, uint64_t told, const char *why) {
  const moment at = {step, told, why};
  SB_AGREE(a->world, a->world->rank == 0 ? choose_alone(a, &at) : SB_OK);
  SB_TRY(
      sb_mpi_bcast(a->chosen.gemms, a->chosen.count * sizeof *a->chosen.gemms, 0, a->world->comm));
  a->since = step;
  a->changed = true;
  return SB_OK;
}

/* ---- measuring ---- */

static reason why_now(const sb_adapt *a, uint64_t step) {
  const uint64_t every = a->options.every;
  if (!every || sb_trainer_progress_of(a->setup.trainer).updates == 0) return NO_REASON;
  return step % every == 0 ? IS_DUE : a->next;
}

/* Of profiles that are due, every second one: the noise costs as much as a third of a profile, and
 * changes slowly. */
static bool is_heard(const sb_adapt *a, uint64_t step, reason why) {
  return a->options.noise > 0 && (why != IS_DUE || step / a->options.every % 2 == 1);
}

static sb_status measure(sb_adapt *a, uint64_t step, bool hears) {
  const sb_adapt_setup *u = &a->setup;
  const sb_trainer_options *t = sb_trainer_options_of(u->trainer);
  sb_pass *pass = sb_trainer_pass(u->trainer);
  sb_profile_measured measured = {0};
  const sb_profile_setup setup = {.pass = pass,
                                  .model = u->model,
                                  .backend = u->backend,
                                  .optimizer = sb_trainer_optimizer(u->trainer),
                                  .adamw = t->adamw,
                                  .step = step,
                                  .precisions = a->options.precisions,
                                  .precision_count = a->options.precision_count,
                                  .lowprec = u->lowprec,
                                  .seed = u->seed + step};
  SB_AGREE(a->world, u->read(u->context, step, a->tokens));
  a->changed = true; /* whatever comes, the pass has other precisions from here on */
  SB_TRY(sb_pass_set_precisions(pass, NULL, NULL));
  if (hears)
    SB_TRY(sb_trainer_keep_gradient(u->trainer, a->tokens));
  else
    sb_trainer_set_batch(u->trainer, a->tokens);
  a->listens = hears;
  SB_TRY(sb_profile_measure(&setup, &measured));
  sb_profile_free(&a->profile);
  a->profile = measured.profile;
  measured.profile = (sb_profile){0};
  sb_profile_measured_free(&measured);
  return SB_OK;
}

static sb_status profile(sb_adapt *a, uint64_t step, reason why) {
  SB_SPAN(SB_TRACE_PHASE, "profile", (int64_t)step);
  a->next = NO_REASON;
  if (why == IS_DUE) a->spikes = 0;
  sb_status status = measure(a, step, is_heard(a, step, why));
  if (status == SB_ERR_NUMERIC) {
    SB_TRY(sb_store_give_back(a->setup.model->store));
    sb_log_line("step %" PRIu64 ": no profile, precisions stay: %s", step, sb_message());
    status = SB_OK;
  } else
    SB_THEN(choose(a, step, step + 1, reason_names[why]));
  a->profiles++;
  return status;
}

sb_status sb_adapt_before(sb_adapt *a, uint64_t step, sb_flop_shares *shares) {
  const sb_adapt_setup *u = &a->setup;
  const reason why = why_now(a, step);
  const bool turns = step == a->options.forward_high_from;
  a->losses = sb_trainer_progress_of(u->trainer).losses;
  if (why != NO_REASON) SB_TRY(profile(a, step, why));
  if (turns && sb_precision_map_is_low(&a->chosen))
    sb_log_line("step %" PRIu64 ": products of the forward pass are high from here on", step);
  if (a->changed || turns) {
    sb_precision_map_copy(u->map, &a->chosen);
    for (size_t i = 0; step >= a->options.forward_high_from && i < u->map->count; i++)
      u->map->gemms[i][SB_FPROP] = SB_PRECISION_HIGH;
    SB_TRY(sb_pass_set_precisions(sb_trainer_pass(u->trainer), u->map, u->lowprec));
    a->changed = false;
  }
  *shares = (sb_flop_shares){sb_precision_map_share(u->map, &u->model->arch, 4),
                             sb_precision_map_share(u->map, &u->model->arch, 8)};
  return SB_OK;
}

/* ---- monitors ---- */

static void lower(sb_adapt *a, uint64_t step, const char *why) {
  const double before = a->share;
  a->share *= LOWERED;
  sb_log_line("step %" PRIu64 ": share of fp4 aimed at goes from %.1f%% to %.1f%%: %s", step,
              100 * before, 100 * a->share, why);
}

static sb_status tell_monitor(const sb_adapt *a, const char *name, uint64_t step, const char *first,
                              double value, const char *second, double other) {
  if (!a->setup.events) return SB_OK;
  json_t *event = sb_event(name, step);
  sb_event_real(event, first, value);
  sb_event_real(event, second, other);
  return sb_events_write(a->setup.events, event);
}

/* `next` is the step to come. */
static sb_status listen_to_noise(sb_adapt *a, uint64_t next) {
  double norm, noise;
  SB_TRY(sb_trainer_noise(a->setup.trainer, &norm, &noise));
  SB_AGREE(a->world, tell_monitor(a, "noise", next, "gradient_norm", norm, "noise_norm", noise));
  sb_log_debug("adapt", "gradient norm %.4g, of its rounding noise %.4g", norm, noise);
  if (norm >= a->options.noise * noise || !a->profile.entries) return SB_OK;
  char why[128];
  snprintf(why, sizeof why, "the gradient's norm, %.3g, is %.2f times that of its rounding noise",
           norm, norm / noise);
  lower(a, next, why);
  return choose(a, next, next, "noise");
}

static sb_status listen_to_loss(sb_adapt *a, uint64_t next, double loss) {
  const double score = sb_skip_score(&a->losses, loss);
  if (!(a->options.spike > 0 && score > a->options.spike)) return SB_OK;
  a->spikes++;
  a->next = LOSS_SPIKED;
  sb_log_line("step %" PRIu64 ": loss %.4f stands %.1f deviations above the last %d; a profile is "
              "measured before the next step",
              next, loss, score, SB_SKIP_WINDOW);
  SB_AGREE(a->world, tell_monitor(a, "spike", next, "loss", loss, "score", score));
  if (a->spikes > 1) lower(a, next, "not the first spike since the last profile that was due");
  return SB_OK;
}

sb_status sb_adapt_after(sb_adapt *a, const sb_step_report *report) {
  const uint64_t next = report->step + 1;
  if (!a->options.every) return SB_OK;
  sb_status status = SB_OK;
  if (a->listens) status = listen_to_noise(a, next);
  a->listens = false;
  sb_profile_free(&a->profile);
  a->profile = (sb_profile){0};
  SB_THEN(listen_to_loss(a, next, report->loss));
  return status;
}

/* ---- state ---- */

json_t *sb_adapt_state(const sb_adapt *a) {
  json_t *choices = json_array();
  for (size_t i = 0; i < a->chosen.count; i++) {
    const sb_precision *p = a->chosen.gemms[i];
    json_array_append_new(choices, json_pack("[s, s, s]", sb_precision_names[p[SB_FPROP]],
                                             sb_precision_names[p[SB_DGRAD]],
                                             sb_precision_names[p[SB_WGRAD]]));
  }
  return json_pack("{s:f, s:I, s:I, s:s, s:o}", "share", a->share, "since", (json_int_t)a->since,
                   "spikes", (json_int_t)a->spikes, "next", reason_names[a->next], "precisions",
                   choices);
}

static sb_status parse_choices(sb_adapt *a, const json_t *list) {
  static const char what[] = "training.json";
  if (json_array_size(list) != a->chosen.count)
    return sb_fail(SB_ERR_FORMAT, "%s: precisions of %zu linear layers, and the model has %zu",
                   what, json_array_size(list), a->chosen.count);
  for (size_t i = 0; i < a->chosen.count; i++)
    for (int gemm = 0; gemm < SB_GEMM_KINDS; gemm++) {
      const char *text = json_string_value(json_array_get(json_array_get(list, i), (size_t)gemm));
      SB_TRY(sb_policy_parse_precision(what, a->linears.linears[i].name, text ? text : "(none)",
                                       &a->chosen.gemms[i][gemm]));
    }
  return SB_OK;
}

static sb_status parse(sb_adapt *a, const json_t *state) {
  const json_t *share = json_object_get(state, "share"), *since = json_object_get(state, "since"),
               *spikes = json_object_get(state, "spikes");
  const char *next = json_string_value(json_object_get(state, "next"));
  if (!json_is_number(share) || !json_is_integer(since) || !json_is_integer(spikes) || !next)
    return sb_fail(SB_ERR_FORMAT, "training.json: \"adapt\" lacks a number, or \"next\"");
  a->share = json_number_value(share);
  a->since = (uint64_t)json_integer_value(since);
  a->spikes = (uint64_t)json_integer_value(spikes);
  a->next = NO_REASON;
  for (int r = 0; r < REASONS; r++)
    if (strcmp(next, reason_names[r]) == 0) a->next = (reason)r;
  return parse_choices(a, json_object_get(state, "precisions"));
}

sb_status sb_adapt_resume(sb_adapt *a, const json_t *state) {
  SB_AGREE(a->world, parse(a, state));
  a->changed = true;
  return SB_OK;
}

uint64_t sb_adapt_profiles(const sb_adapt *a) {
  return a->profiles;
}
