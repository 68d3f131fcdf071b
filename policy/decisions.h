/* The decisions of a policy: sets of GEMMs that take one precision together. A decision is a
 * linear, or one of its GEMMs, or what is tied to it in the same layer. Local. */
#ifndef SB_POLICY_DECISIONS_H
#define SB_POLICY_DECISIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "policy/forced.h"
#include "policy/linears.h"
#include "policy/policy_file.h"

/* Linears of a layer that take one precision. */
typedef enum sb_tie {
  SB_TIE_NONE,
  SB_TIE_QKV,     /* q, k and v */
  SB_TIE_GATE_UP, /* gate and up */
  SB_TIE_FUSED,   /* both: the modules of Megatron-LM and TransformerEngine */
  SB_TIE_LAYER    /* all */
} sb_tie;
extern const char *const sb_tie_names[]; /* "none", "qkv", "gate-up", "fused", "layer" */

/* What decides by itself. */
typedef enum sb_decide_by { SB_BY_LINEAR, SB_BY_GEMM } sb_decide_by;
extern const char *const sb_decide_by_names[]; /* "linear", "gemm" */

typedef struct sb_decisions {
  sb_decide_by by;
  size_t count;
  uint32_t *of;   /* [linears] decision of each; of its first GEMM where GEMMs decide: those of the
                     others follow */
  size_t *linear; /* [count] its first linear */
  uint64_t *work; /* [count] multiply-adds per token, of all its GEMMs */
} sb_decisions;

/* Decisions are numbered in the order of their first linears. Release with sb_decisions_free.
 * SB_ERR_MEMORY. O(linears x linears of a layer). */
sb_status sb_decisions_create(const sb_linears *linears, sb_tie tie, sb_decide_by by,
                              sb_decisions *out);
void sb_decisions_free(sb_decisions *decisions);

/* of[d] = the precision that decision d is forced to by its linears: forced[] is by linear
 * (policy/forced.h), and may be NULL. SB_ERR_RANGE for tied linears that are forced to different
 * ones. */
sb_status sb_decisions_force(const sb_linears *linears, const sb_decisions *decisions,
                             const sb_precision *forced, sb_precision *of);

/* The first linear of its layer that linear i is tied to, or i. By the last parts of their names:
 * "q_proj", "k_proj", "v_proj"; "gate_proj", "up_proj". O(linears of a layer). */
size_t sb_tie_leader(const sb_linears *linears, sb_tie tie, size_t i);

/* The decision of a GEMM. */
static inline size_t sb_decision_of(const sb_decisions *decisions, size_t linear, int gemm) {
  return decisions->of[linear] + (decisions->by == SB_BY_GEMM ? (size_t)gemm : 0);
}

#endif
