#include "cli/common.h"

#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/memory.h"
#include "cli/completion.h"
#include "cli/follow.h"
#include "cli/paths.h"
#include "cli/targets.h"
#include "cli/threads.h"

static const char *const compute_names[] = {
    [SB_ARITHMETIC_F32] = "f32", [SB_ARITHMETIC_BF16] = "bf16", NULL};
static const char *const compute_or_packed_names[] = {[SB_ARITHMETIC_F32] = "f32",
                                                      [SB_ARITHMETIC_BF16] = "bf16",
                                                      [SB_ARITHMETIC_PACKED] = "packed",
                                                      NULL};
static const char *const device_names[] = {
    [SB_DEVICE_AUTO] = "auto", [SB_DEVICE_CPU] = "cpu", [SB_DEVICE_CUDA] = "cuda", NULL};
static const char *const exchange_names[] = {
    [SB_EXCHANGE_AUTO] = "auto", [SB_EXCHANGE_MPI] = "mpi", [SB_EXCHANGE_HOST] = "host", NULL};
const char *const sb_grid_kind_names[] = {[SB_GRID_ASYMMETRIC] = "asymmetric",
                                          [SB_GRID_SYMMETRIC] = "symmetric",
                                          [SB_GRID_SIGNED] = "signed",
                                          [SB_GRID_BY_WIDTH] = "by-width",
                                          NULL};
const char *const sb_grid_names[] = {
    [SB_GRID_AUTO] = "auto", [SB_GRID_PLAIN] = "plain", [SB_GRID_FITTED] = "fitted", NULL};
const char *const sb_common_dtypes[] = {
    [SB_F32] = "f32", [SB_F16] = "f16", [SB_BF16] = "bf16", NULL};

const char *sb_compute_name(sb_compute compute) {
  return compute == SB_COMPUTE_BF16 ? "bf16" : "f32";
}

size_t sb_common_activations(const sb_common *common, size_t device_bytes) {
  if (common->activation_gib > 0) return (size_t)(common->activation_gib * 0x1p30);
  return device_bytes ? device_bytes / SB_COMMON_ACTIVATION_SHARE
                      : (size_t)SB_COMMON_ACTIVATION_GIB << 30;
}

static size_t token_options(sb_common *c, sb_option *table) {
  const sb_option options[] = {
      {.name = "token-dtype",
       SB_OPTION_ENUM(c->token_width, sb_token_width_names),
       .help = "Type of the ids in a raw token file; auto reads it where one width is possible. A "
               ".npy file, and one of llm.c or Megatron, says it itself."},
      {.name = "chat-template",
       .kind = SB_OPTION_FLAG,
       .value = &c->chat_template,
       .help = "The lines of .jsonl are conversations (messages, conversations, or prompt and "
               "completion), which the model's chat template writes out."},
      {.name = "special-tokens",
       .kind = SB_OPTION_FLAG,
       .value = &c->special_tokens,
       .help = "Each text gets what the tokenizer puts around one, as BOS."},
      {.name = "token-cache",
       .kind = SB_OPTION_STRING,
       .value = &c->token_cache,
       .file = SB_FILE_READ,
       .operand = "DIR",
       .unset = "beside the output, or the model: NAME.tokens",
       .help = "Folder that keeps the tokens of texts."}};
  const size_t count = sizeof options / sizeof *options;
  for (size_t i = 0; i < count; i++) table[i] = options[i];
  return count;
}

size_t sb_common_options(sb_common *c, unsigned set, sb_option *table) {
  size_t n = 0;
  if (set & SB_COMMON_FOLDER) {
    table[n++] = (sb_option){.name = "out",
                             .letter = 'o',
                             .kind = SB_OPTION_STRING,
                             .value = &c->out,
                             .file = SB_FILE_FOLDER,
                             .operand = "DIR",
                             .required = true,
                             .help = "Folder to write; it appears once it is complete."};
    table[n++] = (sb_option){
        .name = "file-size",
        .kind = SB_OPTION_REAL,
        .value = &c->file_gb,
        .low = 1e-6,
        .high = 1e6,
        .operand = "GB",
        .help = "Largest safetensors file; a larger model gets several, with an index."};
    table[n++] = (sb_option){.name = "overwrite",
                             .kind = SB_OPTION_FLAG,
                             .value = &c->overwrite,
                             .help = "Replace DIR if it exists."};
  }
  if (set & SB_COMMON_SEQUENCES) {
    table[n++] = (sb_option){
        .name = "seqlen",
        .kind = SB_OPTION_SIZE,
        .value = &c->seqlen,
        .low = 2,
        .high = 1048576,
        .operand = "N",
        .help = "Tokens of a sequence.",
        .unset = c->calibrates ? "128" : "512, or the model's context where that is shorter"};
    table[n++] = (sb_option){
        .name = "seqs",
        .kind = SB_OPTION_SIZE,
        .value = &c->seqs,
        .low = 1,
        .high = 1e9,
        .operand = "N",
        .help = "Most sequences to use, spread evenly over the file, or drawn by --seed.",
        .unset = c->calibrates ? "64" : "all"};
  }
  if (set & SB_COMMON_TOKENS) n += token_options(c, table + n);
  if (set & SB_COMMON_COMPUTE)
    table[n++] = (sb_option){.name = "compute",
                             SB_OPTION_ENUM(c->arithmetic, compute_names),
                             .given = &c->arithmetic_given,
                             .help = "Arithmetic of matrix products; bf16 sums in f32."};
  if (set & SB_COMMON_COMPUTE_OR_PACKED)
    table[n++] = (sb_option){
        .name = "compute",
        SB_OPTION_ENUM(c->arithmetic, compute_or_packed_names),
        .help = "Arithmetic of matrix products; bf16 sums in f32. packed: f32, with the "
                "weights of OUT as they are packed, which takes less memory."};
  if (set & SB_COMMON_DEVICE)
    table[n++] = (sb_option){
        .name = "device",
        SB_OPTION_ENUM(c->device, device_names),
        .help = "Where to compute: on processors, or on GPUs, which the ranks of a node get in "
                "turn. auto takes GPUs if every rank can have one."};
  if (set & SB_COMMON_DEVICE)
    table[n++] = (sb_option){
        .name = "gpu-exchange",
        SB_OPTION_ENUM(c->exchange, exchange_names),
        .help = "How GPUs get weights and sums of other ranks. host: through host memory. mpi: "
                "sums by an MPI library that takes GPU memory (CUDA-aware). auto: both by NCCL "
                "if each rank has a GPU of its own, else as mpi if possible, else as host."};
  if (set & SB_COMMON_SEED)
    table[n++] = (sb_option){.name = "seed",
                             .kind = SB_OPTION_SEED,
                             .value = &c->seed,
                             .operand = "N",
                             .help = "Draws the sequences at random; 0 spreads them evenly."};
  if (set & SB_COMMON_BLOCK)
    table[n++] = (sb_option){.name = "block",
                             .kind = SB_OPTION_SHAPE,
                             .value = c->block,
                             .given = &c->block_given,
                             .low = (double)sb_limit_block.least,
                             .high = (double)sb_limit_block.most,
                             .operand = "RxC",
                             .help = "Rows and columns of a block. All weights of a block have the "
                                     "same number of bits; those "
                                     "of one of its rows share a scale."};
  if (set & SB_COMMON_ACTIVATIONS)
    table[n++] = (sb_option){
        .name = "activation-memory",
        .kind = SB_OPTION_REAL,
        .value = &c->activation_gib,
        .low = 0.001,
        .high = 1e6,
        .operand = "GIB",
        .unset = "4; half of what is free on a GPU",
        .help =
            "Memory a rank may use for inputs of layers. What does not fit goes in further waves, "
            "with the same result."};
  table[n++] = (sb_option){.name = "threads",
                           .kind = SB_OPTION_INT,
                           .value = &c->threads,
                           .low = 0,
                           .high = 4096,
                           .operand = "N",
                           .help = "Threads of each rank.",
                           .unset = "this rank's share of the cores"};
  table[n++] = (sb_option){.name = "json",
                           .kind = SB_OPTION_STRING,
                           .value = &c->json,
                           .file = SB_FILE_WRITTEN,
                           .operand = "FILE",
                           .help = "Write the results as JSON; - writes them to stdout."};
  if (set & SB_COMMON_EVENTS)
    table[n++] =
        (sb_option){.name = "events",
                    .kind = SB_OPTION_STRING,
                    .value = &c->events,
                    .file = SB_FILE_WRITTEN,
                    .operand = "FILE",
                    .help = "Write a JSON object per line for each phase, warning and 10 s "
                            "of progress, while the run goes on; -: to stdout."};
  table[n++] = (sb_option){.name = "quiet",
                           .kind = SB_OPTION_FLAG,
                           .value = &c->quiet,
                           .help = "No log and no progress on stderr; errors still appear."};
  return n;
}

static bool is_stdout(const char *path) {
  return path && strcmp(path, "-") == 0;
}

static sb_status check_stdout(const char *command, const sb_common *common) {
  if (!is_stdout(common->events) || !is_stdout(common->json)) return SB_OK;
  return sb_fail(SB_ERR_USAGE,
                 "%s: --events - and --json - would mix on stdout; give one of them a "
                 "file",
                 command);
}

sb_status sb_common_begin(const sb_world *world, sb_usage *usage, sb_common *common, unsigned set,
                          int argc, char **argv, bool *help) {
  sb_option table[SB_COMMON_MAX];
  usage->common_count = sb_common_options(common, set, table);
  SB_ASSERT(usage->common_count <= SB_COMMON_MAX);
  usage->common = table;
  sb_status parsed = sb_options_parse(usage, argc, argv, help);
  if (parsed == SB_OK) parsed = check_stdout(usage->command, common);
  if (parsed == SB_OK && *help && world->rank == 0)
    sb_completion_or_help(usage, sb_options_help_form(argc, argv), stdout);
  sb_status status = parsed == SB_OK && !*help ? sb_paths_settle(usage) : parsed;
  if (world->rank == 0 && !*help) SB_THEN(sb_targets_check(usage));
  usage->common = NULL;
  usage->common_count = 0;
  if (parsed != SB_OK || *help) return parsed;
  sb_log_open(world->rank == 0 && !common->quiet);
  if (common->quiet) sb_log_set_debug(false, world->rank);
  SB_AGREE(world, status);
  if (world->unstarted)
    sb_log_line(
        "ranks     1, though this job has %d tasks; srun --mpi=pmix or mpirun starts one rank "
        "for each",
        world->unstarted);
  SB_TRY(sb_threads_settle(world, &common->threads));
  return sb_follow_begin(world, common->events, usage->command);
}

bool sb_common_prints(const sb_world *world, const sb_common *common) {
  return world->rank == 0 && !is_stdout(common->json) && !is_stdout(common->events);
}

size_t sb_common_seqlen(const sb_common *common, const sb_config *config) {
  size_t chosen = common->calibrates ? 128 : 512;
  if (common->seqlen != 0) return common->seqlen;
  if (config->max_positions != 0) chosen = sb_min_size(chosen, config->max_positions);
  return config->longest != 0 ? sb_min_size(chosen, config->longest) : chosen;
}

sb_status sb_common_check_seqlen(const sb_common *common, const sb_config *config) {
  const size_t seqlen = sb_common_seqlen(common, config);
  SB_TRY(sb_config_check_length(config, seqlen));
  if (config->max_positions != 0 && seqlen > config->max_positions)
    sb_log_line("warning: --seqlen %zu is longer than the %zu positions that the model was trained "
                "on (max_position_embeddings)",
                seqlen, config->max_positions);
  return SB_OK;
}

size_t sb_common_seqs(const sb_common *common) {
  return common->seqs == 0 && common->calibrates ? 64 : common->seqs;
}
