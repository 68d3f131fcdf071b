/* What the solver is asked (policy/choose.h). Plain data; pointers are borrowed. */
#ifndef SB_POLICY_CHOOSE_OPTIONS_H
#define SB_POLICY_CHOOSE_OPTIONS_H

#include "policy/decisions.h"
#include "policy/forced.h"
#include "policy/rates.h"
#include "policy/scoring.h"
#include "policy/stages.h"

typedef enum sb_target_kind { SB_TARGET_SHARE, SB_TARGET_SPEEDUP } sb_target_kind;
typedef enum sb_scope { SB_SCOPE_MODEL, SB_SCOPE_STAGE, SB_SCOPE_BALANCED } sb_scope;

typedef struct sb_choose_options {
  sb_scoring scoring;
  size_t candidate_count;
  sb_precision candidates[SB_PRECISION_COUNT]; /* each once; high or in the profile */
  sb_decide_by by;
  sb_tie tie;
  const sb_precision *forced; /* [linears] or SB_PRECISION_FREE; NULL: all are free */
  sb_target_kind kind;
  double target;         /* share: 0 to 1; speedup: at least 1 */
  const sb_rates *rates; /* for speedups and balanced stages; else may be NULL */
  const sb_stages *stages;
  sb_scope scope;
  const sb_policy *present; /* the policy in use, or NULL */
  double switch_cost;       /* added to the score if all FLOPs left its precisions; else in
                               proportion */
} sb_choose_options;

#endif
