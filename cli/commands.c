#include "cli/commands.h"

const sb_command sb_commands[] = {
    {"inspect", "what a model or an output folder holds, without reading its weights",
     sb_cmd_inspect},
    {"plan", "memory, traffic and time per rank, before anyone queues a job", sb_cmd_plan},
    {"quantize", "find the bits of every block under a budget, and write the shards",
     sb_cmd_quantize},
    {"eval", "perplexity on a token file; against a reference also KL divergence", sb_cmd_eval},
    {"verify", "check every frame of an output folder", sb_cmd_verify},
    {"export", "dequantized Hugging Face folder from an output folder", sb_cmd_export},
    {"reorder", "the same model with its channels in an order that gathers what is sensitive",
     sb_cmd_reorder},
    {"train", "train a model, from scratch or from its weights, with a precision per linear layer",
     sb_cmd_train},
    {"synth", "a random model of any architecture and size, for benchmarks", sb_cmd_synth},
    {"profile", "what low precisions would cost a training step, linear by linear", sb_cmd_profile},
    {"policy", "the precision of every linear layer in training, from a profile", sb_cmd_policy},
    {"report", "runs as one HTML file: bits, losses, the search, time and memory", sb_cmd_report},
    {"bench", "what this machine can do, and how much of it the phases of quantize get",
     sb_cmd_bench},
    {"doctor", "what this build and this machine have, and whether the device computes",
     sb_cmd_doctor},
    {"completion", "completion of command lines by bash or zsh, to be sourced", sb_cmd_completion},
    {0},
};

_Static_assert(sizeof sb_commands / sizeof *sb_commands <= SB_COMMANDS_MAX, "names have no room");
