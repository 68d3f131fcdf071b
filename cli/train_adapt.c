#include "cli/train_adapt.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define SECTION "precision that adapts"

static size_t choice_options(sb_train_adapt *a, sb_option *table) {
  const sb_option options[] = {
      {.name = "adapt",
       .kind = SB_OPTION_SIZE,
       .value = &a->every,
       .low = 1,
       .high = 1e7,
       .operand = "N",
       .section = SECTION,
       .help = "Every N steps measure a profile beside the training, and choose the precisions "
               "anew, into OUT.policies. Until the first one they are those of --policy or "
               "--precision.",
       .unset = "they stay"},
      {.name = "adapt-target",
       .kind = SB_OPTION_REAL,
       .value = &a->target,
       .given = &a->given,
       .low = 0,
       .high = 1,
       .operand = "SHARE",
       .section = SECTION,
       .help = "Share of the FLOPs of linear layers that runs in fp4, at least."},
      {.name = "adapt-precision",
       .kind = SB_OPTION_STRING,
       .value = &a->list,
       .given = &a->given,
       .operand = "FORMAT,...",
       .section = SECTION,
       .help = "Formats to choose from; where all of them have 4 bits, high precision too."},
      {.name = "adapt-metric",
       SB_OPTION_ENUM(a->metric, sb_metric_names),
       .given = &a->given,
       .section = SECTION,
       .help = "Numbers of the profile that decide."},
      {.name = "adapt-by",
       SB_OPTION_ENUM(a->by, sb_decide_by_names),
       .given = &a->given,
       .section = SECTION,
       .help = "Whether linear layers or each of their three GEMMs have a precision of their own."},
      {.name = "adapt-switch-cost",
       .kind = SB_OPTION_REAL,
       .value = &a->switch_cost,
       .given = &a->given,
       .low = 0,
       .high = 1e9,
       .operand = "C",
       .section = SECTION,
       .help = "Score that leaving the present precisions with all FLOPs costs; with some, in "
               "proportion."},
  };
  const size_t count = sizeof options / sizeof *options;
  for (size_t i = 0; i < count; i++) table[i] = options[i];
  return count;
}

static size_t monitor_options(sb_train_adapt *a, sb_option *table) {
  const sb_option options[] = {
      {.name = "adapt-noise",
       .kind = SB_OPTION_REAL,
       .value = &a->noise,
       .given = &a->given,
       .low = 0,
       .high = 1e6,
       .operand = "R",
       .section = SECTION,
       .help = "Aim at an eighth less fp4 where the gradient's norm is below R times that of its "
               "rounding noise; 0: do not measure it."},
      {.name = "adapt-spike",
       .kind = SB_OPTION_REAL,
       .value = &a->spike,
       .given = &a->given,
       .low = 0,
       .high = 1e6,
       .operand = "Z",
       .section = SECTION,
       .help = "Measure a profile after a step whose loss stands Z deviations above the last 128; "
               "at the second one in N steps aim at less fp4 too; 0: never."},
      {.name = "forward-high",
       .kind = SB_OPTION_REAL,
       .value = &a->forward_high,
       .low = 0,
       .high = 1,
       .operand = "SHARE",
       .section = SECTION,
       .help = "For this last share of the steps products of the forward pass stay in high "
               "precision, with or without --adapt."},
  };
  const size_t count = sizeof options / sizeof *options;
  for (size_t i = 0; i < count; i++) table[i] = options[i];
  return count;
}

size_t sb_train_adapt_options(sb_train_adapt *a, sb_option *table) {
  const size_t count = choice_options(a, table);
  return count + monitor_options(a, table + count);
}

sb_status sb_train_adapt_settle(sb_train_adapt *a) {
  if (a->given && !a->every)
    return sb_fail(SB_ERR_USAGE, "train: --adapt-... are options of --adapt N; give it too");
  if (a->forward_high > 0 && !a->low && !a->every)
    return sb_fail(SB_ERR_USAGE, "train: --forward-high is of low precision; give --policy, a "
                                 "format as --precision, or --adapt");
  if (!a->every) return SB_OK;
  if (a->every >= a->steps && !a->at_once)
    return sb_fail(SB_ERR_USAGE,
                   "train: --adapt %zu chooses nothing in --steps %zu; give a smaller "
                   "one",
                   a->every, a->steps);
  return sb_precision_list_parse("train: --adapt-precision", a->list, false, &a->precisions);
}

bool sb_train_adapts(const sb_train_adapt *a) {
  return a->every > 0 || a->forward_high > 0;
}

static uint64_t forward_high_from(const sb_train_adapt *a) {
  const uint64_t last = (uint64_t)llround(a->forward_high * (double)a->steps);
  return last ? a->steps - last : UINT64_MAX;
}

static void add_choice(const sb_train_adapt *a, sb_key *key) {
  char list[SB_KEY_TEXT] = "";
  size_t n = 0;
  for (size_t i = 0; i < a->precisions.count && n < sizeof list; i++)
    n += (size_t)snprintf(list + n, sizeof list - n, "%s%s", i ? "," : "",
                          sb_precision_names[a->precisions.of[i]]);
  sb_key_add(key, "adapt", "--adapt", "%zu", a->every);
  sb_key_add_real(key, "adapt_target", "--adapt-target", a->target);
  sb_key_add(key, "adapt_precision", "--adapt-precision", "%s", list);
  sb_key_add(key, "adapt_metric", "--adapt-metric", "%s", sb_metric_names[a->metric]);
  sb_key_add(key, "adapt_by", "--adapt-by", "%s", sb_decide_by_names[a->by]);
  sb_key_add_real(key, "adapt_switch_cost", "--adapt-switch-cost", a->switch_cost);
  sb_key_add_real(key, "adapt_noise", "--adapt-noise", a->noise);
  sb_key_add_real(key, "adapt_spike", "--adapt-spike", a->spike);
  sb_key_add(key, "adapt_keep_first", "--keep-first", "%zu", a->keep_first);
  sb_key_add(key, "adapt_keep_last", "--keep-last", "%zu", a->keep_last);
}

void sb_train_adapt_key(const sb_train_adapt *a, sb_key *key) {
  if (a->every)
    add_choice(a, key);
  else
    sb_key_add(key, "adapt", "--adapt", SB_KEY_NONE);
  if (forward_high_from(a) != UINT64_MAX)
    sb_key_add(key, "forward_high", "--forward-high", "from step %" PRIu64,
               forward_high_from(a) + 1);
  else
    sb_key_add(key, "forward_high", "--forward-high", SB_KEY_NONE);
}

sb_adapt_options sb_train_adapt_of(const sb_train_adapt *a) {
  sb_adapt_options o = {.every = a->every,
                        .share = a->target,
                        .precision_count = a->precisions.count,
                        .scores = a->metric == SB_METRIC_NORMS ? SB_SCORES_NORMS : SB_SCORES_EXACT,
                        .by = a->by,
                        .switch_cost = a->switch_cost,
                        .keep_first = a->keep_first,
                        .keep_last = a->keep_last,
                        .noise = a->noise,
                        .spike = a->spike,
                        .forward_high_from = forward_high_from(a)};
  memcpy(o.precisions, a->precisions.of, sizeof o.precisions);
  return o;
}
