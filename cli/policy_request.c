#include "cli/policy_request.h"

#include <string.h>

#include "base/memory.h"

#define TARGET    "target"
#define DECISIONS "decisions"
#define SCORES    "scores"
#define OUTPUT    "output"

const sb_policy_request sb_policy_defaults = {
    .share = 0.75, .speedup = 2, .rates = "theory", .loss_factor = 1};

/* ---- the table ---- */

enum { MOST = 24 };

static size_t options_of(sb_policy_request *r, sb_option *table) {
  const sb_option options[] = {
      {.name = "target",
       .section = TARGET,
       .kind = SB_OPTION_REAL,
       .value = &r->share,
       .given = &r->share_given,
       .low = 0,
       .high = 1,
       .operand = "SHARE",
       .help = "Share of the FLOPs of all linears' GEMMs that run in 4 bits, at least."},
      {.name = "speedup",
       .section = TARGET,
       .kind = SB_OPTION_REAL,
       .value = &r->speedup,
       .given = &r->speedup_given,
       .low = 1,
       .high = 64,
       .operand = "S",
       .unset = "a share",
       .help = "In place of --target: these GEMMs take at most 1/S of their time in bf16, by "
               "--rates."},
      {.name = "rates",
       .section = TARGET,
       .kind = SB_OPTION_STRING,
       .value = &r->rates,
       .file = SB_FILE_READ,
       .operand = "TABLE",
       .help = "Speeds of precisions, as multiples of bf16's: theory (fp8 2, fp4 4), b300, h200 "
               "(measured), or a file as below."},
      {.name = "stages",
       .section = TARGET,
       .kind = SB_OPTION_STRING,
       .value = &r->stages,
       .operand = "N|LAYERS,...",
       .unset = "1",
       .help = "Stages of the pipeline, or the layers of each. Every stage meets the target."},
      {.name = "balance",
       .section = TARGET,
       .kind = SB_OPTION_FLAG,
       .value = &r->balance,
       .given = &r->chooses,
       .help = "The slowest stage sets the pace: all stages get its time, and the model as a whole "
               "meets the target."},
      {.name = "by",
       .section = DECISIONS,
       SB_OPTION_ENUM(r->by, sb_decide_by_names),
       .given = &r->chooses,
       .help = "What gets a precision of its own: a linear, or each of its three GEMMs."},
      {.name = "tie",
       .section = DECISIONS,
       SB_OPTION_ENUM(r->tie, sb_tie_names),
       .given = &r->chooses,
       .help =
           "Linears of a layer that get one precision: q, k and v; gate and up; fused: both, as "
           "Megatron-LM and TransformerEngine have them; a whole layer."},
      {.name = "precision",
       .section = DECISIONS,
       .kind = SB_OPTION_STRING,
       .value = &r->precisions,
       .operand = "FORMAT,...",
       .unset = "all that were measured",
       .given = &r->chooses,
       .help = "Precisions to choose from; bf16 is the high one. If all that were measured have 4 "
               "bits, bf16 is among them."},
      {.name = "force",
       .section = DECISIONS,
       .kind = SB_OPTION_STRING,
       .value = &r->force,
       .operand = "PATTERN=FORMAT,...",
       .unset = "none",
       .given = &r->chooses,
       .help = "Precisions of linears by shell patterns, as in '*.o_proj=bf16'; the first that "
               "matches counts. Layers that are kept in bf16 must stay in it."},
      {.name = "keep-first",
       .section = DECISIONS,
       .kind = SB_OPTION_SIZE,
       .value = &r->keep_first,
       .high = 4096,
       .operand = "N",
       .given = &r->chooses,
       .help = "First layers to keep in bf16."},
      {.name = "keep-last",
       .section = DECISIONS,
       .kind = SB_OPTION_SIZE,
       .value = &r->keep_last,
       .high = 4096,
       .operand = "N",
       .given = &r->chooses,
       .help = "Last layers to keep in bf16."},
      {.name = "baseline",
       .section = DECISIONS,
       SB_OPTION_ENUM(r->baseline, sb_baseline_names),
       .operand = "RULE",
       .help = "A rule in place of the solver, to compare with."},
      {.name = "seed",
       .section = DECISIONS,
       .kind = SB_OPTION_SEED,
       .value = &r->seed,
       .given = &r->seed_given,
       .operand = "N",
       .help = "Of the baseline random."},
      {.name = "metric",
       .section = SCORES,
       SB_OPTION_ENUM(r->scores, sb_scores_names),
       .given = &r->chooses,
       .help = "Numbers of the profile that are added up: of a metric, of --truth, or the local "
               "errors."},
      {.name = "combine",
       .section = SCORES,
       SB_OPTION_ENUM(r->combine, sb_combine_names),
       .given = &r->combine_given,
       .unset = "as the profile says",
       .help = "How divergences add up: as numbers, or as independent errors."},
      {.name = "loss-factor",
       .section = SCORES,
       .kind = SB_OPTION_REAL,
       .value = &r->loss_factor,
       .low = 0,
       .high = 1e9,
       .operand = "F",
       .given = &r->chooses,
       .help = "Weight of the loss divergence beside the weight divergence's 1."},
      {.name = "present",
       .section = SCORES,
       .kind = SB_OPTION_STRING,
       .value = &r->present,
       .file = SB_FILE_READ,
       .operand = "POLICY",
       .unset = "none",
       .help = "The policy in use, which --switch-cost holds on to."},
      {.name = "switch-cost",
       .section = SCORES,
       .kind = SB_OPTION_REAL,
       .value = &r->switch_cost,
       .given = &r->switch_given,
       .low = 0,
       .high = 1e9,
       .operand = "C",
       .help = "Score that leaving --present with all FLOPs costs; with some, in proportion."},
      {.name = "out",
       .letter = 'o',
       .section = OUTPUT,
       .kind = SB_OPTION_STRING,
       .value = &r->out,
       .file = SB_FILE_WRITTEN,
       .operand = "POLICY",
       .unset = "none",
       .help = "Policy to write, for `train --policy`."},
      {.name = "format",
       .section = OUTPUT,
       SB_OPTION_ENUM(r->format, sb_export_names),
       .help = "Also write it for another trainer, beside POLICY: POLICY.stageN.yaml for "
               "Megatron-LM, POLICY_te.py, POLICY_torchao.py, POLICY_torchtitan.py."},
      {.name = "picture",
       .section = OUTPUT,
       .kind = SB_OPTION_STRING,
       .value = &r->picture,
       .file = SB_FILE_WRITTEN,
       .operand = "SVG",
       .unset = "none",
       .help = "Picture to write: layers by linears."},
  };
  _Static_assert(sizeof options / sizeof *options <= MOST, "room for all options");
  memcpy(table, options, sizeof options);
  return sizeof options / sizeof *options;
}

/* ---- contradictions ---- */

static sb_status settle(sb_policy_request *r) {
  if (r->precisions)
    SB_TRY(sb_precision_list_parse("policy: --precision", r->precisions, true, &r->candidates));
  r->chooses |= r->share_given || r->speedup_given || r->combine_given || r->present ||
                r->baseline != SB_BASELINE_NONE;
  if (r->share_given && r->speedup_given)
    return sb_fail(SB_ERR_USAGE, "policy: --target and --speedup are two targets; give one");
  if (r->balance && !r->stages) return sb_fail(SB_ERR_USAGE, "policy: --balance needs --stages");
  if (r->switch_given && !r->present)
    return sb_fail(SB_ERR_USAGE, "policy: --switch-cost needs --present");
  if (r->format != SB_EXPORT_JSON && !r->out)
    return sb_fail(SB_ERR_USAGE, "policy: --format needs -o, which names the files");
  if (r->seed_given && r->baseline != SB_BASELINE_RANDOM)
    return sb_fail(SB_ERR_USAGE, "policy: --seed is of --baseline random");
  if (r->share_given && r->baseline != SB_BASELINE_NONE && !sb_baseline_has_target(r->baseline))
    return sb_fail(SB_ERR_USAGE, "policy: --baseline %s has no target; leave --target out",
                   sb_baseline_names[r->baseline]);
  if (r->baseline != SB_BASELINE_NONE &&
      (r->speedup_given || r->by == SB_BY_GEMM || r->balance || r->present))
    return sb_fail(SB_ERR_USAGE, "policy: baselines know a share and whole linears: neither "
                                 "--speedup nor --by gemm, --balance or --present");
  if (r->loss_factor != sb_policy_defaults.loss_factor &&
      (r->scores == SB_SCORES_ABSOLUTE || r->scores == SB_SCORES_RELATIVE))
    return sb_fail(SB_ERR_USAGE,
                   "policy: --metric %s knows no divergence of the loss; leave "
                   "--loss-factor out",
                   sb_scores_names[r->scores]);
  return SB_OK;
}

sb_status sb_policy_request_parse(const sb_world *world, int argc, char **argv,
                                  sb_policy_request *r, bool *help) {
  sb_option table[MOST];
  *r = sb_policy_defaults;
  r->common = SB_COMMON_DEFAULTS;
  const sb_argument arguments[] = {
      {"PROFILE", &r->input,
       "A profile that `profile` wrote; or a policy, to show and translate."}};
  sb_usage usage = {
      .command = "policy",
      .synopsis = "PROFILE [--target SHARE] [-o POLICY] [options]",
      .purpose =
          "Chooses the precision of every linear layer, or of each of its three GEMMs: the least\n"
          "predicted divergence with a share of the FLOPs in FP4, or within a predicted time. The\n"
          "choice is exact: its certificate says that no other policy has less.",
      .examples =
          "  shardbits policy P.json --target 0.75 -o policy.json\n"
          "  shardbits policy P.json --speedup 2.5 --precision bf16,mxfp8,nvfp4 --by gemm\n"
          "  shardbits policy P.json --stages 8 --tie fused -o policy.json --format megatron\n"
          "  shardbits policy policy.json -o other.json --format te\n"
          "\na file of --rates; linears by shell patterns may differ:\n"
          "  {\"format\": \"shardbits-rates\", \"version\": 1, \"rates\": {\"fp8-128\": 1.6, "
          "\"nvfp4\": 3.1},\n"
          "   \"linears\": {\"*.o_proj\": {\"nvfp4\": 0.95}}}",
      .arguments = arguments,
      .argument_count = 1,
      .options = table,
      .option_count = options_of(r, table),
  };
  SB_TRY(sb_common_begin(world, &usage, &r->common, 0, argc, argv, help));
  return *help ? SB_OK : settle(r);
}

/* ---- the solver's question ---- */

void sb_policy_question_free(sb_policy_question *q) {
  sb_stages_free(&q->stages);
  sb_rates_free(&q->rates);
  sb_policy_free(&q->present);
  sb_free(&q->forced);
}

static sb_status fill(const sb_policy_request *r, const sb_profile *profile,
                      sb_policy_question *q) {
  sb_choose_options *o = &q->options;
  const sb_forced_options forced = {r->force, r->keep_first, r->keep_last};
  if (r->candidates.count > 0) {
    o->candidate_count = r->candidates.count;
    memcpy(o->candidates, r->candidates.of, sizeof o->candidates);
  } else {
    sb_choose_candidates(profile->precisions, profile->precision_count, o);
  }
  SB_TRY(sb_stages_parse(r->stages, profile->model.layers, &q->stages));
  SB_TRY(sb_rates_read(r->rates, &q->rates));
  SB_TRY(sb_alloc(&q->forced, profile->model.count, sizeof *q->forced, "forced precisions"));
  SB_TRY(sb_forced_set(&profile->model, &forced, q->forced));
  if (!r->present) return SB_OK;
  SB_TRY(sb_policy_read(r->present, &q->present));
  return sb_linears_check(r->present, &q->present.model, &profile->model);
}

sb_status sb_policy_question_create(const sb_policy_request *r, const sb_profile *profile,
                                    sb_policy_question *q) {
  *q = (sb_policy_question){0};
  const sb_status status = fill(r, profile, q);
  const bool timed = r->speedup_given || r->balance;
  if (status != SB_OK) {
    sb_policy_question_free(q);
    return status;
  }
  sb_choose_options *o = &q->options;
  o->scoring =
      (sb_scoring){r->scores, r->combine_given ? r->combine : profile->combine, r->loss_factor};
  o->by = r->by;
  o->tie = r->tie;
  o->forced = q->forced;
  o->kind = r->speedup_given ? SB_TARGET_SPEEDUP : SB_TARGET_SHARE;
  o->target = r->speedup_given ? r->speedup : r->share;
  o->rates = timed ? &q->rates : NULL;
  o->stages = &q->stages;
  o->scope = r->balance ? SB_SCOPE_BALANCED : r->stages ? SB_SCOPE_STAGE : SB_SCOPE_MODEL;
  o->present = r->present ? &q->present : NULL;
  o->switch_cost = r->switch_cost;
  return SB_OK;
}
