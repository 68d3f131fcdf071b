/* Profiles and policies (policy/profile_file.h, policy/policy_file.h).
 *
 * Input: u8 mode, then the JSON. Even modes: a profile, from which a policy is then chosen; odd
 * ones: a policy, which is then exported. What is accepted is the same when it is written and read
 * again. */
#include <string.h>

#include "policy/choose.h"
#include "policy/export.h"
#include "tests/fuzz/fuzz_model.h"

enum { MOST = 16384, LINEARS = 2 };

static const sb_linear linears[LINEARS] = {{"model.layers.0.self_attn.q_proj", 0, 32, 48},
                                           {"model.layers.1.mlp.up_proj", 1, 96, 32}};
static const sb_linears model = {"LlamaForCausalLM", 2, 32, 96, 100, LINEARS, (sb_linear *)linears};

static void take_file(const char *path, uint8_t mode, fuzz_take take, void *context) {
  uint8_t input[MOST] = {mode};
  size_t bytes;
  char *text = fuzz_get(path, &bytes);
  json_t *json = json_loadb(text, bytes, 0, NULL);
  const size_t packed = json_dumpb(json, (char *)input + 1, MOST - 1, JSON_COMPACT);
  fuzz_require(packed < MOST);
  take(context, input, 1 + packed);
  json_decref(json);
  free(text);
}

static void seeds(fuzz_take take, void *context) {
  const sb_precision two[] = {SB_PRECISION_MXFP8, SB_PRECISION_NVFP4};
  const char *path = fuzz_path("seed.json");
  sb_profile profile;
  sb_policy policy;
  fuzz_require(sb_profile_create(&model, two, 2, &profile) == SB_OK);
  profile.has_metric[SB_METRIC_EXACT] = profile.has_metric[SB_METRIC_NORMS] = profile.has_truth =
      true;
  profile.seqlen = 64;
  for (size_t i = 0; i < 2 * LINEARS; i++)
    for (int part = 0; part < SB_PARTS; part++)
      profile.entries[i].parts[SB_METRIC_EXACT][part] = (sb_divergence){(double)i / 3, 0.5};
  fuzz_require(sb_profile_write(path, &profile) == SB_OK);
  take_file(path, 0, take, context);
  fuzz_require(sb_policy_create(&model, &policy) == SB_OK);
  for (int g = 0; g < SB_GEMM_KINDS; g++) policy.choices[1].gemm[g] = two[g % 2];
  fuzz_require(sb_policy_write(path, &policy) == SB_OK);
  take_file(path, 1, take, context);
  sb_profile_free(&profile);
  sb_policy_free(&policy);
}

/* A solver that is asked about any profile answers, or refuses. */
static void choose(const sb_profile *profile) {
  sb_stages stages;
  sb_rates rates;
  sb_policy policy;
  sb_choose_result result;
  fuzz_require(sb_stages_parse(NULL, profile->model.layers, &stages) == SB_OK);
  fuzz_require(sb_rates_read("theory", &rates) == SB_OK);
  for (int kind = 0; kind < 2; kind++) {
    sb_choose_options options = {.kind = (sb_target_kind)kind,
                                 .target = kind ? 1.5 : 0.5,
                                 .candidate_count = profile->precision_count,
                                 .rates = &rates,
                                 .stages = &stages,
                                 .scoring = {SB_SCORES_EXACT, profile->combine, 1}};
    memcpy(options.candidates, profile->precisions, sizeof options.candidates);
    if (fuzz_settle(sb_choose("p.json", profile, &options, &policy, &result))) {
      fuzz_require(result.bound <= result.score);
      if (!kind) fuzz_require(sb_policy_share(&policy, 4) >= 0.5 - 1e-9);
    }
    sb_policy_free(&policy);
  }
  sb_rates_free(&rates);
  sb_stages_free(&stages);
}

static void run_profile(const char *path) {
  const char *again = fuzz_path("again.json");
  sb_profile profile, copy;
  if (!fuzz_settle(sb_profile_read(path, &profile))) return;
  fuzz_require(sb_profile_write(again, &profile) == SB_OK);
  fuzz_require(sb_profile_read(again, &copy) == SB_OK);
  fuzz_require(sb_linears_check(again, &copy.model, &profile.model) == SB_OK);
  const size_t entries = profile.model.count * profile.precision_count;
  fuzz_require(memcmp(copy.entries, profile.entries, entries * sizeof *copy.entries) == 0);
  choose(&profile);
  sb_profile_free(&profile);
  sb_profile_free(&copy);
}

static void run_policy(const char *path) {
  const char *again = fuzz_path("again.json");
  sb_policy policy, copy;
  sb_stages stages;
  if (!fuzz_settle(sb_policy_read(path, &policy))) return;
  fuzz_require(sb_policy_write(again, &policy) == SB_OK);
  fuzz_require(sb_policy_read(again, &copy) == SB_OK);
  fuzz_require(sb_linears_check(again, &copy.model, &policy.model) == SB_OK);
  fuzz_require(memcmp(copy.choices, policy.choices, policy.model.count * sizeof *copy.choices) ==
               0);
  fuzz_require(sb_stages_parse(NULL, policy.model.layers, &stages) == SB_OK);
  for (sb_export e = SB_EXPORT_MEGATRON; e <= SB_EXPORT_TORCHTITAN; e++)
    fuzz_settle(sb_export_write(e, &policy, &stages, again));
  sb_stages_free(&stages);
  sb_policy_free(&policy);
  sb_policy_free(&copy);
}

static void run(const uint8_t *data, size_t size) {
  fuzz_cursor in = {data, size};
  const unsigned mode = fuzz_u8(&in);
  const char *path = fuzz_put("p.json", in.at, in.left, 0);
  if (mode % 2)
    run_policy(path);
  else
    run_profile(path);
}

const fuzz_target fuzz_policy = {"policy", MOST, NULL, seeds, NULL, run};
