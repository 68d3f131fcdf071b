/* The request that the command line of `train` makes. */
#ifndef SB_CLI_TRAIN_REQUEST_H
#define SB_CLI_TRAIN_REQUEST_H

#include <stdbool.h>
#include <stddef.h>

#include "base/dtype.h"
#include "base/status.h"
#include "cli/common.h"
#include "cli/lowprec_options.h"
#include "cli/options.h"
#include "cli/token_list.h"
#include "cli/train_adapt.h"
#include "io/file.h"
#include "train/trainer.h"

/* --precision: what the products of linear layers run in. After the first, as sb_precision. */
typedef enum sb_train_precision {
  SB_TRAIN_F32,
  SB_TRAIN_BF16 /* + precision: SB_TRAIN_BF16 + SB_PRECISION_FP8_TENSOR, ... */
} sb_train_precision;
extern const char *const sb_train_precision_names[SB_PRECISION_COUNT + 2];

/* --eval-precision. */
typedef enum sb_eval_precision { SB_EVAL_HIGH, SB_EVAL_TRAINED } sb_eval_precision;

typedef struct sb_train_request {
  const char *model, *tokens, *eval_tokens, *policy, *optimizer, *checkpoints, *events;
  size_t steps, stop_at, warmup, cooldown, save_every, keep, keep_every, eval_every, eval_seqs,
      log_every, keep_first, keep_last;
  double floor; /* of the rate, over its peak */
  sb_train_precision precision;
  sb_eval_precision eval_precision;
  sb_rounding_request rounding;
  sb_dtype dtype; /* of the result */
  bool save_waits;
  struct {
    bool precision, warmup, stop_at, save_every;
  } given; /* on the command line; else sb_train_settle chooses */
  sb_trainer_options trainer;
  sb_lowprec_options lowprec;
  sb_token_list sources, eval_sources;
  sb_train_adapt adapt;
  char checkpoints_path[SB_PATH_MAX];
  sb_common common;
} sb_train_request;

/* A request that asks for nothing yet. Pure. */
sb_train_request sb_train_defaults(void);

enum { SB_TRAIN_OPTIONS_MAX = 64 };
/* Writes the options into table[SB_TRAIN_OPTIONS_MAX], pointing into *request; returns their
 * number. Pure. */
size_t sb_train_options(sb_train_request *request, sb_option *table);

/* Chooses what the command line left open, and checks what it gave:
 *
 *   warmup        a hundredth of the steps
 *   stop_at       all steps
 *   checkpoints   OUT.checkpoints
 *   adapt.folder  OUT.policies
 *   log_every     a twentieth of the steps
 *   arithmetic    as --precision f32 and bf16 say
 *
 * SB_ERR_USAGE where the request contradicts itself. Local. Release with sb_train_request_free,
 * also after a failure. */
sb_status sb_train_settle(sb_train_request *request);
void sb_train_request_free(sb_train_request *request);

/* Fills the request from the command line and settles it. *help: it was asked for, and printed.
 * Collective within a node. */
sb_status sb_train_parse(const sb_world *world, int argc, char **argv, sb_train_request *request,
                         bool *help);

#endif
