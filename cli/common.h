/* Options that several commands share, and the choices that follow from them. */
#ifndef SB_CLI_COMMON_H
#define SB_CLI_COMMON_H

#include "cli/options.h"
#include "io/file.h"
#include "io/tokens.h"
#include "kernels/device.h"
#include "model/config.h"
#include "mpi/world.h"

/* --compute: arithmetic of matrix products. */
typedef enum sb_arithmetic {
  SB_ARITHMETIC_F32,
  SB_ARITHMETIC_BF16,
  SB_ARITHMETIC_PACKED /* f32, with packed weights as they are: SB_COMMON_COMPUTE_OR_PACKED */
} sb_arithmetic;

/* --gpu-exchange: how GPUs get weights and sums of other ranks. */
typedef enum sb_exchange { SB_EXCHANGE_AUTO, SB_EXCHANGE_MPI, SB_EXCHANGE_HOST } sb_exchange;

/* --grid: range of a group's codes. AUTO is left to the command. */
typedef enum sb_grid_choice { SB_GRID_AUTO, SB_GRID_PLAIN, SB_GRID_FITTED } sb_grid_choice;

/* Names of ranges of grids, of kinds of grids (sb_code_kind: asymmetric, symmetric, signed,
 * by-width), and of the types of weights that are written (sb_dtype). NULL behind the last. */
extern const char *const sb_grid_names[], *const sb_grid_kind_names[], *const sb_common_dtypes[];

typedef struct sb_common {
  size_t seqlen;   /* tokens of a sequence; 0: sb_common_seqlen chooses */
  size_t seqs;     /* most sequences; 0: sb_common_seqs chooses */
  bool calibrates; /* set by the command, for these two: it takes gradients of many short sequences,
                      and does not predict windows of text */
  const char *json;   /* file of the report: NULL none, "-" stdout */
  const char *events; /* file of events (cli/follow.h): NULL none, "-" stdout */
  bool quiet;
  int threads; /* of this rank; 0: chosen by sb_common_begin */
  uint64_t seed;
  sb_arithmetic arithmetic;
  bool arithmetic_given; /* --compute is on the command line */
  sb_device device;
  sb_exchange exchange;
  sb_token_width token_width;
  const char *token_cache; /* folder of tokens of texts; NULL: beside the output (cli/text_in.h) */
  bool chat_template, special_tokens; /* of texts */
  char token_file[SB_PATH_MAX];       /* of the command's text (sb_text_in) */
  double activation_gib; /* of memory for inputs of layers; 0: sb_common_activations chooses */
  size_t block[2];       /* rows, columns */
  bool block_given;
  const char *out; /* Hugging Face folder to write */
  double file_gb;  /* size of its safetensors files, at most, in GB */
  bool overwrite;  /* if the folder exists */
} sb_common;

#define SB_COMMON_DEFAULTS ((sb_common){.block = {128, 128}, .file_gb = 5})

/* Sets of them, to be or-ed; every command has --json, --quiet and --threads. */
enum {
  SB_COMMON_SEQUENCES = 1,
  SB_COMMON_SEED = 2,
  SB_COMMON_COMPUTE = 4,
  SB_COMMON_TOKENS = 8,
  SB_COMMON_ACTIVATIONS = 16,
  SB_COMMON_BLOCK = 32,
  SB_COMMON_FOLDER = 64,
  SB_COMMON_COMPUTE_OR_PACKED = 128, /* --compute with one choice more */
  SB_COMMON_DEVICE = 256,
  SB_COMMON_EVENTS = 512 /* of long commands */
};
enum { SB_COMMON_MAX = 32 };

/* The type that matrix products read. */
static inline sb_compute sb_common_compute(const sb_common *common) {
  return common->arithmetic == SB_ARITHMETIC_BF16 ? SB_COMPUTE_BF16 : SB_COMPUTE_F32;
}
/* "f32" or "bf16". */
const char *sb_compute_name(sb_compute compute);

/* Writes the entries of the options in `set` into table[SB_COMMON_MAX]; they point into *common.
 * Returns their number. Pure. */
size_t sb_common_options(sb_common *common, unsigned set, sb_option *table);

/* Parses the command line with usage's own options and the common ones in `set`. With --help it
 * prints the help (rank 0) and sets *help; the command then returns SB_OK. Otherwise it opens the
 * log, checks all files to write (cli/targets.h), chooses common->threads (cli/threads.h) and
 * begins the events (cli/follow.h). Collective. */
sb_status sb_common_begin(const sb_world *world, sb_usage *usage, sb_common *common, unsigned set,
                          int argc, char **argv, bool *help);

enum { SB_COMMON_ACTIVATION_GIB = 4, SB_COMMON_ACTIVATION_SHARE = 2 };
/* Bytes that a rank may use for inputs of layers: --activation-memory; else on
 * a processor (`device_bytes` 0) SB_COMMON_ACTIVATION_GIB, on a GPU
 * device_bytes / SB_COMMON_ACTIVATION_SHARE. Pure. */
size_t sb_common_activations(const sb_common *common, size_t device_bytes);
/* The same for a backend of sb_common_backend. Local, equal on all ranks. */
static inline size_t sb_common_activation_bytes(const sb_common *common,
                                                const sb_backend *backend) {
  return sb_common_activations(common, backend->unified ? 0 : backend->free_bytes);
}

/* *out = the backend of --device, --compute and --threads. All ranks get the same kind, or results
 * would depend on the distribution of work over ranks. The ranks of a node get its GPUs in turn.
 * "auto" takes GPUs if every rank can have one, else processors; the log then says why (builds with
 * CUDA). With "cuda" all ranks fail if one does. The log names the choice. After sb_common_begin.
 * Collective. Release with op->destroy. */
sb_status sb_common_backend(const sb_world *world, const sb_common *common, sb_backend **out);

/* --seqlen and --seqs, or the defaults of the command's kind. Where windows of text are predicted:
 * 512 tokens, or the context or the sliding window of the model if that is shorter, and all
 * sequences (0). Where it
 * calibrates: 64 sequences of 128 tokens. The curvature of the loss is a mean over sequences; for
 * the same number of tokens many short ones estimate it better than few long ones
 * (docs/results.md). Local. */
size_t sb_common_seqlen(const sb_common *common, const sb_config *config);
/* SB_ERR_UNSUPPORTED where that is beyond what is computed for this model (sb_config_check_length).
 * The log warns where it is beyond the context that was trained. Local, equal on all ranks. */
sb_status sb_common_check_seqlen(const sb_common *common, const sb_config *config);
size_t sb_common_seqs(const sb_common *common);

/* --file-size in bytes. Local. */
static inline uint64_t sb_common_file_bytes(const sb_common *common) {
  return (uint64_t)(common->file_gb * 1e9);
}

/* Whether this rank prints results for people to stdout: rank 0 does, unless the report or events
 * go there. Local. */
bool sb_common_prints(const sb_world *world, const sb_common *common);

#endif
