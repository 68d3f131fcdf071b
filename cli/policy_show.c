#include "cli/policy_show.h"

#include <string.h>

#include "base/memory.h"
#include "base/text.h"
#include "cli/table.h"
#include "policy/kinds.h"

enum { LINE = 1024, CELL = 8 };

/* "4", or "8/4/4" where the GEMMs differ: bits of fprop, dgrad and wgrad. */
static void put_cell(char *line, size_t at, const sb_policy_choice *choice) {
  char text[16];
  const sb_precision *p = choice->gemm;
  if (sb_policy_choice_is_uniform(choice))
    snprintf(text, sizeof text, "%u", sb_precision_bits(p[0]));
  else
    snprintf(text, sizeof text, "%u/%u/%u", sb_precision_bits(p[SB_FPROP]),
             sb_precision_bits(p[SB_DGRAD]), sb_precision_bits(p[SB_WGRAD]));
  memcpy(line + at, text, sb_min_size(strlen(text), CELL));
}

static void put_word(char *line, size_t at, const char *word) {
  memcpy(line + at, word, sb_min_size(strlen(word), CELL));
}

/* A line without the spaces at its end. */
static void print_line(FILE *out, char *line) {
  size_t length = strlen(line);
  while (length > 0 && line[length - 1] == ' ') line[--length] = 0;
  sb_text_print(out, "%s", line);
}

/* "q_proj" as "q": columns are narrow. */
static void put_kind(char *line, size_t at, const char *name) {
  char text[CELL + 1];
  const size_t length = strlen(name) - (sb_text_ends(name, "_proj") ? strlen("_proj") : 0);
  snprintf(text, sizeof text, "%.*s", (int)length, name);
  put_word(line, at, text);
}

/* One line per layer, one column per kind of linear. */
static void show_table(FILE *out, const sb_policy *policy, const sb_kinds *kinds) {
  const size_t width = 8 + kinds->count * (CELL + 2);
  char line[LINE];
  size_t i = 0;
  if (width >= LINE) return;
  memset(line, ' ', width);
  line[width] = 0;
  put_word(line, 2, "layer");
  for (size_t k = 0; k < kinds->count; k++) put_kind(line, 8 + k * (CELL + 2), kinds->name[k]);
  print_line(out, line);
  for (size_t layer = 0; layer < policy->model.layers; layer++) {
    char number[24];
    memset(line, ' ', width);
    snprintf(number, sizeof number, "%5zu", layer);
    put_word(line, 2, number);
    for (; i < policy->model.count && policy->model.linears[i].layer == layer; i++)
      put_cell(line, 8 + kinds->of[i] * (CELL + 2), &policy->choices[i]);
    print_line(out, line);
  }
}

static void show_certificate(FILE *out, const sb_choose_result *r) {
  if (r->optimal)
    sb_table_row(out, "certificate",
                 "score %.6g is the least possible: gap 0; %zu decisions in %.4f s", r->score,
                 r->decisions, r->seconds);
  else
    sb_table_row(out, "certificate",
                 "score %.6g, and none is below %.6g: gap %.3g; %zu decisions in %.4f s", r->score,
                 r->bound, r->score - r->bound, r->decisions, r->seconds);
}

/* What was predicted when the policy was made. */
static void show_prediction(FILE *out, const json_t *about) {
  const json_t *p = json_object_get(about, "predicted");
  const char *scores = json_string_value(json_object_get(p, "scores"));
  if (scores)
    sb_table_row(out, "predicted", "divergence of the loss %.4g, of weights %.4g (metric %s)",
                 json_number_value(json_object_get(p, "loss")),
                 json_number_value(json_object_get(p, "weight")), scores);
}

static void show_stages(FILE *out, const sb_policy *policy, const sb_stages *stages,
                        const sb_rates *rates) {
  const double slowest = sb_outcome_slowest(policy, rates, stages);
  for (size_t k = 0; k < stages->count && stages->count > 1; k++) {
    char label[32];
    const size_t first = stages->first[k], end = stages->first[k + 1];
    const sb_outcome o = sb_outcome_of(policy, rates, first, end, slowest);
    snprintf(label, sizeof label, "stage %zu", k);
    sb_table_row(out, label, "layers %zu to %zu: %.2f%% in FP4, %.2f%% in FP8, time %.4f of bf16's",
                 first, end - 1, 100 * o.fp4, 100 * o.fp8, o.time);
  }
}

/* Which precision of the policy the rates do not know; SB_PRECISION_COUNT: they know all. */
static sb_precision unknown_rate(const sb_policy *policy, const sb_rates *rates) {
  uint64_t time;
  for (size_t i = 0; i < policy->model.count; i++)
    for (int g = 0; g < SB_GEMM_KINDS; g++)
      if (sb_rates_time(rates, &policy->model.linears[i], policy->choices[i].gemm[g], &time) !=
          SB_OK)
        return policy->choices[i].gemm[g];
  return SB_PRECISION_COUNT;
}

static void show_speed(FILE *out, const sb_policy *policy, const sb_stages *stages,
                       const sb_rates *rates) {
  static const char label[] = "speed of GEMMs";
  const double speedup = sb_outcome_speedup(policy, rates, stages);
  const sb_precision unknown = unknown_rate(policy, rates);
  if (speedup > 0)
    sb_table_row(out, label, "%.3f times bf16's, by the rates of %s", speedup, rates->name);
  else if (unknown < SB_PRECISION_COUNT)
    sb_table_row(out, label, "not known: %s has no rate for %s", rates->name,
                 sb_precision_names[unknown]);
}

void sb_policy_show(FILE *out, const char *input, const sb_policy *policy, const sb_stages *stages,
                    const sb_rates *rates, const sb_choose_result *result) {
  sb_kinds kinds;
  if (!out) return;
  sb_table_head(out, "%s", input);
  sb_table_row(out, "FLOPs", "%.2f%% in FP4, %.2f%% in FP8", 100 * sb_policy_share(policy, 4),
               100 * sb_policy_share(policy, 8));
  show_speed(out, policy, stages, rates);
  show_prediction(out, policy->about);
  if (result) show_certificate(out, result);
  show_stages(out, policy, stages, rates);
  if (sb_kinds_create(&policy->model, &kinds) != SB_OK) return;
  sb_table_head(out, "bits of layers by linears (fprop/dgrad/wgrad where they differ)");
  show_table(out, policy, &kinds);
  sb_kinds_free(&kinds);
}
