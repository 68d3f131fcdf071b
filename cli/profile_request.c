#include "cli/profile_request.h"

#define OPTIMIZER "optimizer"
#define TRUTH     "truth"
#define PRECISION "precision"

const sb_profile_request sb_profile_defaults = {
    .batch = 16,
    .warmup = 20,
    .truth_policies = 20,
    .truth_share = 0.75,
    .adamw = SB_ADAMW_DEFAULTS,
    .rounding = {.stochastic = SB_ON, .hadamard = SB_ON},
    .common = SB_COMMON_DEFAULTS};

enum { OPTIONS = 24 };

static size_t what_options(sb_profile_request *r, sb_option *table) {
  const sb_option options[] = {
      {.name = "tokens",
       .kind = SB_OPTION_STRING,
       .value = &r->tokens,
       .file = SB_FILE_TOKENS,
       .operand = "FILE[:WEIGHT],...",
       .required = true,
       .help = "Token files of the training, as train takes them: best from where the run is."},
      {.name = "precision",
       .kind = SB_OPTION_STRING,
       .value = &r->precision,
       .operand = "FORMAT,...",
       .required = true,
       .help = "The low precisions to measure: fp8-tensor, fp8-128, mxfp8, mxfp4, nvfp4, fp4-128."},
      {.name = "batch",
       .kind = SB_OPTION_SIZE,
       .value = &r->batch,
       .low = 1,
       .high = 1e6,
       .operand = "N",
       .help = "Sequences that errors are measured with; more of them, less noise."},
      {.name = "seqlen",
       .kind = SB_OPTION_SIZE,
       .value = &r->common.seqlen,
       .low = 2,
       .high = 1048576,
       .operand = "N",
       .help = "Tokens of a sequence.",
       .unset = "512, or the model's context where that is shorter"},
      {.name = "seed",
       .kind = SB_OPTION_SEED,
       .value = &r->common.seed,
       .operand = "N",
       .help = "Of the order of the data, of the noise, and of stochastic rounding."},
  };
  const size_t count = sizeof options / sizeof *options;
  for (size_t i = 0; i < count; i++) table[i] = options[i];
  return count;
}

static size_t optimizer_options(sb_profile_request *r, sb_option *table) {
  const sb_option options[] = {
      {.name = "optimizer",
       .kind = SB_OPTION_STRING,
       .value = &r->optimizer,
       .file = SB_FILE_READ,
       .operand = "FILE",
       .section = OPTIMIZER,
       .help = "AdamW's moments, optimizer.safetensors of train or of tools/convert_optimizer.py; "
               "masters in it replace the model's weights.",
       .unset = "moments of --warmup batches"},
      {.name = "warmup",
       .kind = SB_OPTION_SIZE,
       .value = &r->warmup,
       .given = &r->given.warmup,
       .low = 1,
       .high = 1e6,
       .operand = "N",
       .section = OPTIMIZER,
       .help = "Batches that moments are made of where no file has them; the weights stay."},
      {.name = "beta1",
       .kind = SB_OPTION_REAL,
       .value = &r->adamw.beta1,
       .given = &r->given.beta1,
       .low = 0,
       .high = 1,
       .operand = "B",
       .section = OPTIMIZER,
       .help = "Decay of AdamW's mean of gradients; of --optimizer where that is given."},
      {.name = "beta2",
       .kind = SB_OPTION_REAL,
       .value = &r->adamw.beta2,
       .given = &r->given.beta2,
       .low = 0,
       .high = 1,
       .operand = "B",
       .section = OPTIMIZER,
       .help = "Decay of its mean of squares."},
      {.name = "eps",
       .kind = SB_OPTION_REAL,
       .value = &r->adamw.eps,
       .given = &r->given.eps,
       .low = 0,
       .high = 1,
       .operand = "E",
       .section = OPTIMIZER,
       .help = "Added to the root of the mean of squares."},
  };
  const size_t count = sizeof options / sizeof *options;
  for (size_t i = 0; i < count; i++) table[i] = options[i];
  return count;
}

static size_t truth_options(sb_profile_request *r, sb_option *table) {
  const sb_option options[] = {
      {.name = "truth",
       .kind = SB_OPTION_FLAG,
       .value = &r->truth,
       .section = TRUTH,
       .help = "Also measure what is predicted: quantize one linear at a time, for one step each."},
      {.name = "truth-linears",
       .kind = SB_OPTION_SIZE,
       .value = &r->truth_linears,
       .given = &r->given.truth_linears,
       .low = 2,
       .high = 1e6,
       .operand = "N",
       .section = TRUTH,
       .help = "Only so many of them, spread evenly over the model.",
       .unset = "all"},
      {.name = "truth-policies",
       .kind = SB_OPTION_SIZE,
       .value = &r->truth_policies,
       .given = &r->given.truth_policies,
       .low = 0,
       .high = 1e6,
       .operand = "N",
       .section = TRUTH,
       .help = "Policies drawn at random, to see how predictions add up."},
      {.name = "truth-share",
       .kind = SB_OPTION_REAL,
       .value = &r->truth_share,
       .given = &r->given.truth_share,
       .low = 0,
       .high = 1,
       .operand = "SHARE",
       .section = TRUTH,
       .help = "Their share of FLOPs in the format of fewest bits."},
  };
  const size_t count = sizeof options / sizeof *options;
  for (size_t i = 0; i < count; i++) table[i] = options[i];
  return count;
}

static sb_status settle(sb_profile_request *r) {
  const bool betas = r->given.beta1 || r->given.beta2 || r->given.eps;
  if (r->optimizer && (r->given.warmup || betas))
    return sb_fail(SB_ERR_USAGE,
                   "profile: --optimizer has the moments and their %s; leave --%s out",
                   betas ? "betas" : "steps",
                   r->given.warmup ? "warmup"
                   : r->given.eps  ? "eps"
                                   : "beta1, --beta2");
  if (!r->truth && (r->given.truth_linears || r->given.truth_policies || r->given.truth_share))
    return sb_fail(SB_ERR_USAGE, "profile: --truth-linears, --truth-policies and --truth-share are "
                                 "of --truth; give it too");
  SB_TRY(sb_precision_list_parse("profile: --precision", r->precision, false, &r->precisions));
  unsigned formats = 0;
  for (size_t i = 0; i < r->precisions.count; i++) formats |= 1u << r->precisions.of[i];
  SB_TRY(sb_rounding_check(&r->rounding, "profile", formats));
  SB_TRY(sb_adamw_check(&r->adamw));
  if (r->common.quiet && !r->common.json)
    return sb_fail(SB_ERR_USAGE, "profile: --quiet without --json leaves nothing of the profile");
  return sb_token_list_parse("tokens", r->tokens, &r->sources);
}

sb_status sb_profile_request_parse(const sb_world *world, int argc, char **argv,
                                   sb_profile_request *r, bool *help) {
  sb_option options[OPTIONS];
  size_t count = 0;
  *r = sb_profile_defaults;
  count += what_options(r, options);
  count += sb_rounding_options(&r->rounding, PRECISION, options + count);
  count += optimizer_options(r, options + count);
  count += truth_options(r, options + count);
  const sb_argument arguments[] = {{"MODEL", &r->model, "A Hugging Face folder."}};
  sb_usage usage = {
      .command = "profile",
      .synopsis = "MODEL --tokens TOKENS --precision FORMAT,... --json PROFILE [options]",
      .purpose =
          "Measures what each low precision would cost a training step, for every linear layer "
          "and\n"
          "GEMM: how the loss changes, and how AdamW's update does. `policy` chooses from the\n"
          "profile that --json writes. Takes some four training steps (docs/snip.md),\n"
          "after --warmup batches where no --optimizer gives the moments.",
      .examples =
          "  shardbits profile data/demo-llama --tokens data/calib.bin --precision fp8-128,nvfp4 "
          "--json p.json\n"
          "  mpirun -n 8 shardbits profile run/step-20000 --optimizer "
          "run/step-20000/optimizer.safetensors \\\n"
          "    --tokens 'web_*.bin' --precision mxfp8,nvfp4 --truth --truth-linears 30 --json "
          "p.json",
      .arguments = arguments,
      .argument_count = 1,
      .options = options,
      .option_count = count};
  SB_TRY(sb_common_begin(world, &usage, &r->common,
                         SB_COMMON_COMPUTE | SB_COMMON_DEVICE | SB_COMMON_TOKENS |
                             SB_COMMON_ACTIVATIONS | SB_COMMON_EVENTS,
                         argc, argv, help));
  return *help ? SB_OK : settle(r);
}

void sb_profile_request_free(sb_profile_request *r) {
  sb_token_list_free(&r->sources);
}
