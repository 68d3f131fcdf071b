/* The command line of `profile`. */
#ifndef SB_CLI_PROFILE_REQUEST_H
#define SB_CLI_PROFILE_REQUEST_H

#include "cli/common.h"
#include "cli/lowprec_options.h"
#include "cli/precision_list.h"
#include "cli/token_list.h"
#include "train/optimizer.h"

typedef struct sb_profile_request {
  const char *model, *tokens, *precision, *optimizer;
  size_t batch, warmup;
  bool truth;
  size_t truth_linears, truth_policies;
  double truth_share;
  sb_adamw adamw;
  struct {
    bool warmup, truth_linears, truth_policies, truth_share, beta1, beta2, eps;
  } given;
  sb_precision_list precisions;
  sb_rounding_request rounding;
  sb_token_list sources;
  sb_common common;
} sb_profile_request;

extern const sb_profile_request sb_profile_defaults;

/* Fills the request from the command line, and refuses contradictions: SB_ERR_USAGE. *help: it was
 * asked for, and printed. Collective within a node. Release with sb_profile_request_free, also
 * after a failure. */
sb_status sb_profile_request_parse(const sb_world *world, int argc, char **argv,
                                   sb_profile_request *request, bool *help);
void sb_profile_request_free(sb_profile_request *request);

#endif
