/* The command line of `policy`: its options, and the solver's options that follow from them. */
#ifndef SB_CLI_POLICY_REQUEST_H
#define SB_CLI_POLICY_REQUEST_H

#include "cli/common.h"
#include "cli/precision_list.h"
#include "policy/baselines.h"
#include "policy/export.h"

typedef struct sb_policy_request {
  const char *input; /* a profile, or a policy */
  /* target */
  double share, speedup;
  bool share_given, speedup_given;
  const char *rates, *stages;
  bool balance;
  /* decisions */
  sb_decide_by by;
  sb_tie tie;
  const char *precisions, *force;
  sb_precision_list candidates; /* of `precisions`; empty: not given */
  size_t keep_first, keep_last;
  sb_baseline baseline;
  uint64_t seed;
  bool seed_given;
  /* scores */
  sb_scores_kind scores;
  bool combine_given;
  sb_combine combine;
  double loss_factor;
  const char *present;
  double switch_cost;
  bool switch_given;
  bool chooses; /* an option of the three groups above is given, but for --rates and --stages, which
                   also say how a policy is shown and written */
  /* output */
  const char *out, *picture;
  sb_export format;
  sb_common common;
} sb_policy_request;

extern const sb_policy_request sb_policy_defaults;

/* Parses the command line as sb_common_begin does, and refuses contradictions: SB_ERR_USAGE.
 * Collective. */
sb_status sb_policy_request_parse(const sb_world *world, int argc, char **argv,
                                  sb_policy_request *request, bool *help);

/* What the solver's options point at. Release with sb_policy_question_free. */
typedef struct sb_policy_question {
  sb_choose_options options;
  sb_stages stages;
  sb_rates rates;
  sb_policy present;
  sb_precision *forced;
} sb_policy_question;

/* The candidates are those of --precision, else the profile's, with the high one where all of these
 * have 4 bits. Reads --present and --rates. SB_ERR_RANGE, SB_ERR_FORMAT, SB_ERR_IO. Local. */
sb_status sb_policy_question_create(const sb_policy_request *request, const sb_profile *profile,
                                    sb_policy_question *out);
void sb_policy_question_free(sb_policy_question *question);

#endif
