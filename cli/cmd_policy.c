/* shardbits policy: the precision of every linear layer, from a profile. */
#include <string.h>

#include "base/log.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/policy_request.h"
#include "cli/policy_show.h"
#include "cli/report_json.h"
#include "io/json.h"
#include "policy/outcome.h"
#include "policy/picture.h"

/* What rank 0 works on: a policy needs no other rank. */
typedef struct work {
  const sb_policy_request *r;
  sb_profile profile;
  sb_policy_question question;
  sb_policy policy;
  sb_choose_result result;
  bool solved; /* a profile was given; else it is a policy's file */
  FILE *out;
  json_t *report;
} work;

/* ---- the policy ---- */

static sb_status choose(work *w) {
  const sb_policy_request *r = w->r;
  const sb_choose_options *o = &w->question.options;
  const bool exact = r->baseline == SB_BASELINE_NONE;
  if (exact)
    SB_TRY(sb_choose(r->input, &w->profile, o, &w->policy, &w->result));
  else
    SB_TRY(sb_baseline_choose(r->input, &w->profile, r->baseline, o, r->seed, &w->policy));
  sb_choose_options told = *o; /* predicted times are told wherever the rates know them */
  told.rates = &w->question.rates;
  return sb_outcome_describe(exact ? "exact" : sb_baseline_names[r->baseline], r->input,
                             &w->profile, &told, exact ? &w->result : NULL, &w->policy);
}

/* A policy is shown and translated as it is. */
static sb_status take_policy(work *w, const json_t *object) {
  const sb_policy_request *r = w->r;
  if (r->chooses)
    return sb_fail(
        SB_ERR_USAGE,
        "policy: %s is a policy, which has its choices already; give a profile, or leave "
        "out the options that choose",
        r->input);
  SB_TRY(sb_policy_parse(r->input, object, &w->policy));
  SB_TRY(sb_rates_read(r->rates, &w->question.rates));
  return sb_stages_parse(r->stages, w->policy.model.layers, &w->question.stages);
}

static sb_status take_profile(work *w, const json_t *object) {
  SB_TRY(sb_profile_parse(w->r->input, object, &w->profile));
  SB_TRY(sb_policy_question_create(w->r, &w->profile, &w->question));
  w->solved = true;
  return choose(w);
}

static sb_status make(work *w) {
  json_t *object = NULL;
  SB_TRY(sb_json_read(w->r->input, &object));
  const char *format = json_string_value(json_object_get(object, "format"));
  const bool is_policy = format && strcmp(format, SB_POLICY_FORMAT) == 0;
  const sb_status status = is_policy ? take_policy(w, object) : take_profile(w, object);
  json_decref(object);
  return status;
}

/* ---- output ---- */

static sb_status write(const work *w) {
  const sb_policy_request *r = w->r;
  SB_TRY(sb_export_check_policy(r->format, &w->policy)); /* before anything is written */
  if (r->out) SB_TRY(sb_policy_write(r->out, &w->policy));
  if (r->out && r->format != SB_EXPORT_JSON)
    SB_TRY(sb_export_write(r->format, &w->policy, &w->question.stages, r->out));
  if (r->picture) SB_TRY(sb_picture_write(r->picture, &w->policy));
  return SB_OK;
}

static void report(const work *w) {
  const double slowest = sb_outcome_slowest(&w->policy, &w->question.rates, &w->question.stages);
  const sb_outcome all =
      sb_outcome_of(&w->policy, &w->question.rates, 0, w->policy.model.layers, slowest);
  sb_report_text(w->report, "input", w->r->input);
  sb_report_real(w->report, "fp4", all.fp4);
  sb_report_real(w->report, "fp8", all.fp8);
  sb_report_real(w->report, "speedup",
                 sb_outcome_speedup(&w->policy, &w->question.rates, &w->question.stages));
  if (w->policy.about) json_object_update_missing(w->report, w->policy.about);
  if (w->solved && w->r->baseline == SB_BASELINE_NONE)
    sb_report_real(w->report, "seconds", w->result.seconds);
}

static sb_status run(work *w) {
  SB_TRY(make(w));
  SB_TRY(write(w));
  sb_policy_show(w->out, w->r->input, &w->policy, &w->question.stages, &w->question.rates,
                 w->solved && w->r->baseline == SB_BASELINE_NONE ? &w->result : NULL);
  report(w);
  return SB_OK;
}

static void work_free(work *w) {
  sb_profile_free(&w->profile);
  sb_policy_question_free(&w->question);
  sb_policy_free(&w->policy);
}

sb_status sb_cmd_policy(const sb_world *world, int argc, char **argv) {
  sb_policy_request request;
  bool help;
  SB_TRY(sb_policy_request_parse(world, argc, argv, &request, &help));
  if (help) return SB_OK;
  work w = {.r = &request, .report = sb_report_begin(world, "policy")};
  w.out = sb_common_prints(world, &request.common) ? stdout : NULL;
  sb_status status = sb_world_agree(world, world->rank == 0 ? run(&w) : SB_OK);
  SB_THEN(sb_report_write(world, request.common.json, w.report));
  json_decref(w.report);
  work_free(&w);
  return status;
}
