#include "cli/train_request.h"

#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "io/outdir.h"

const char *const sb_train_precision_names[SB_PRECISION_COUNT + 2] = {
    "f32", "bf16", "fp8-tensor", "fp8-128", "mxfp8", "mxfp4", "nvfp4", "fp4-128", NULL};

sb_train_request sb_train_defaults(void) {
  sb_train_request r = {.keep = 2,
                        .save_every = 1000,
                        .eval_seqs = 64,
                        .floor = 0.1,
                        .precision = SB_TRAIN_F32,
                        .rounding = SB_ROUNDING_DEFAULTS,
                        .dtype = SB_F32,
                        .trainer = {.adamw = SB_ADAMW_DEFAULTS, .clip = 1, .batch = 8},
                        .adapt = SB_TRAIN_ADAPT_DEFAULTS,
                        .common = SB_COMMON_DEFAULTS};
  r.trainer.schedule.peak = 3e-4;
  return r;
}

static sb_status settle_precision(sb_train_request *r) {
  const bool plain = r->precision <= SB_TRAIN_BF16;
  const sb_arithmetic arithmetic =
      r->precision == SB_TRAIN_BF16 ? SB_ARITHMETIC_BF16 : SB_ARITHMETIC_F32;
  if (r->policy && r->given.precision && !plain)
    return sb_fail(SB_ERR_USAGE,
                   "train: --policy and --precision %s both choose precisions; give one of them",
                   sb_train_precision_names[r->precision]);
  if (plain && r->given.precision) {
    if (r->common.arithmetic_given && r->common.arithmetic != arithmetic)
      return sb_fail(SB_ERR_USAGE, "train: --precision %s contradicts --compute %s; leave one out",
                     sb_train_precision_names[r->precision],
                     r->common.arithmetic == SB_ARITHMETIC_BF16 ? "bf16" : "f32");
    r->common.arithmetic = arithmetic;
  }
  if (plain && !r->policy && !r->adapt.every && (r->keep_first || r->keep_last))
    return sb_fail(SB_ERR_USAGE,
                   "train: --keep-%s keeps layers out of low precision; give --policy, a format as "
                   "--precision, or --adapt",
                   r->keep_first ? "first" : "last");
  r->lowprec = sb_rounding_settle(&r->rounding);
  return SB_OK;
}

static sb_status settle_schedule(sb_train_request *r) {
  sb_schedule *s = &r->trainer.schedule;
  char cooldown[64] = "";
  s->steps = r->steps;
  s->floor = r->floor;
  s->warmup = r->given.warmup ? r->warmup : r->steps / 100;
  s->decay = r->cooldown;
  if (r->cooldown) snprintf(cooldown, sizeof cooldown, " and --cooldown %zu", r->cooldown);
  if (r->cooldown && s->curve != SB_SCHEDULE_WSD)
    return sb_fail(SB_ERR_USAGE, "train: --cooldown is of --schedule wsd, not of %s",
                   sb_schedule_names[s->curve]);
  if (s->curve == SB_SCHEDULE_WSD && !r->cooldown)
    return sb_fail(SB_ERR_USAGE, "train: --schedule wsd needs --cooldown N; without one the rate "
                                 "stays, which is --schedule constant");
  if (s->warmup > s->steps || s->decay > s->steps - s->warmup)
    return sb_fail(SB_ERR_USAGE, "train: --warmup %zu%s do%s not fit into --steps %zu", s->warmup,
                   cooldown, s->decay ? "" : "es", s->steps);
  if (r->given.stop_at && !r->save_every)
    return sb_fail(SB_ERR_USAGE,
                   "train: --stop-at %zu with --save-every 0 saves nothing of what "
                   "it trained; leave one out",
                   r->stop_at);
  if (!r->given.stop_at) r->stop_at = r->steps;
  if (r->log_every == 0) r->log_every = sb_max_size(r->steps / 20, 1);
  if (r->stop_at > r->steps)
    return sb_fail(SB_ERR_USAGE, "train: --stop-at %zu lies behind --steps %zu", r->stop_at,
                   r->steps);
  return sb_schedule_check(s);
}

static bool is_stdout(const char *path) {
  return path && strcmp(path, "-") == 0;
}

static sb_status settle_files(sb_train_request *r) {
  if (r->eval_every && !r->eval_tokens)
    return sb_fail(SB_ERR_USAGE, "train: --eval-every needs --eval-tokens");
  if (is_stdout(r->events) && is_stdout(r->common.json))
    return sb_fail(SB_ERR_USAGE, "train: --events - and --json - would mix on stdout; give one of "
                                 "them a file");
  SB_TRY(sb_token_list_parse("tokens", r->tokens, &r->sources));
  if (r->eval_tokens) SB_TRY(sb_token_list_parse("eval-tokens", r->eval_tokens, &r->eval_sources));
  size_t length = strlen(r->common.out);
  while (length > 1 && r->common.out[length - 1] == '/') length--;
  if (length + 64 >= SB_PATH_MAX || (r->checkpoints && strlen(r->checkpoints) + 64 >= SB_PATH_MAX))
    return sb_fail(SB_ERR_IO, "%.64s...: the name is too long", r->common.out);
  if (r->checkpoints)
    snprintf(r->checkpoints_path, SB_PATH_MAX, "%s", r->checkpoints);
  else
    snprintf(r->checkpoints_path, SB_PATH_MAX, "%.*s.checkpoints", (int)length, r->common.out);
  snprintf(r->adapt.folder, SB_PATH_MAX, "%.*s.policies", (int)length, r->common.out);
  SB_TRY(sb_outdir_spare(r->common.out, r->checkpoints_path));
  if (!sb_outdir_holds(r->model, r->checkpoints_path)) return SB_OK;
  return sb_fail(SB_ERR_IO,
                 "%s: checkpoints would be written into MODEL, which this run only reads; choose "
                 "another --checkpoints",
                 r->checkpoints_path);
}

static sb_status settle_adapt(sb_train_request *r) {
  r->adapt.low = r->policy || r->precision > SB_TRAIN_BF16;
  r->adapt.steps = r->steps;
  r->adapt.keep_first = r->keep_first;
  r->adapt.keep_last = r->keep_last;
  r->adapt.at_once = r->optimizer != NULL;
  return sb_train_adapt_settle(&r->adapt);
}

sb_status sb_train_settle(sb_train_request *r) {
  SB_TRY(sb_adamw_check(&r->trainer.adamw));
  SB_TRY(settle_precision(r));
  SB_TRY(settle_adapt(r));
  SB_TRY(settle_schedule(r));
  return settle_files(r);
}

void sb_train_request_free(sb_train_request *r) {
  sb_token_list_free(&r->sources);
  sb_token_list_free(&r->eval_sources);
}

sb_status sb_train_parse(const sb_world *world, int argc, char **argv, sb_train_request *r,
                         bool *help) {
  sb_option options[SB_TRAIN_OPTIONS_MAX];
  const sb_argument arguments[] = {
      {"MODEL", &r->model,
       "A Hugging Face folder, whose weights training begins with, or a config.json, for random "
       "weights by --seed."}};
  sb_usage usage = {
      .command = "train",
      .synopsis = "MODEL --tokens TOKENS --steps N -o OUT [options]",
      .purpose =
          "Trains a language model with AdamW, each linear layer's GEMMs in the precision that a\n"
          "policy gives them (emulated: docs/snip.md). Weights, moments and gradients are spread\n"
          "over the ranks; the result has the same bits on any number of them. Interrupted, the "
          "same\n"
          "command goes on from the last checkpoint, on any number of ranks.",
      .examples =
          "  shardbits train data/demo-llama/config.json --tokens data/calib.bin --steps 200 -o "
          "out\n"
          "  mpirun -n 8 shardbits train smollm2 --tokens 'web_*.bin:0.9,code.bin:0.1' --steps "
          "20000 \\\n"
          "    --batch 64 --seqlen 1024 --policy policy.json --eval-tokens heldout.bin --events "
          "log.jsonl -o out",
      .arguments = arguments,
      .argument_count = 1,
      .options = options,
      .option_count = sb_train_options(r, options)};
  SB_TRY(sb_common_begin(world, &usage, &r->common,
                         SB_COMMON_FOLDER | SB_COMMON_COMPUTE | SB_COMMON_DEVICE |
                             SB_COMMON_TOKENS | SB_COMMON_ACTIVATIONS,
                         argc, argv, help));
  if (*help) return SB_OK;
  return sb_train_settle(r);
}
