#include "policy/decisions.h"

#include <string.h>

#include "base/memory.h"

const char *const sb_tie_names[] = {"none", "qkv", "gate-up", "fused", "layer", NULL};
const char *const sb_decide_by_names[] = {"linear", "gemm", NULL};

static bool is_one_of(const char *kind, const char *const *kinds) {
  for (; *kinds; kinds++)
    if (strcmp(kind, *kinds) == 0) return true;
  return false;
}

static bool joins(sb_tie tie, const sb_linear *a, const sb_linear *b) {
  static const char *const qkv[] = {"q_proj", "k_proj", "v_proj", NULL}, *const gate_up[] = {
                                                                             "gate_proj", "up_proj",
                                                                             NULL};
  const char *left = sb_linear_kind(a), *right = sb_linear_kind(b);
  if (tie == SB_TIE_NONE || a->layer != b->layer) return false;
  if (tie == SB_TIE_LAYER) return true;
  return (tie != SB_TIE_GATE_UP && is_one_of(left, qkv) && is_one_of(right, qkv)) ||
         (tie != SB_TIE_QKV && is_one_of(left, gate_up) && is_one_of(right, gate_up));
}

size_t sb_tie_leader(const sb_linears *linears, sb_tie tie, size_t i) {
  size_t first = i;
  while (first > 0 && linears->linears[first - 1].layer == linears->linears[i].layer) first--;
  for (; first < i; first++)
    if (joins(tie, &linears->linears[first], &linears->linears[i])) return first;
  return i;
}

sb_status sb_decisions_create(const sb_linears *linears, sb_tie tie, sb_decide_by by,
                              sb_decisions *out) {
  static const char what[] = "decisions of a policy";
  const size_t gemms = by == SB_BY_GEMM ? SB_GEMM_KINDS : 1;
  *out = (sb_decisions){.by = by};
  sb_status status = sb_alloc(&out->of, linears->count, sizeof *out->of, what);
  SB_THEN(sb_alloc(&out->linear, linears->count * gemms, sizeof *out->linear, what));
  SB_THEN(sb_alloc(&out->work, linears->count * gemms, sizeof *out->work, what));
  if (status != SB_OK) {
    sb_decisions_free(out);
    return status;
  }
  for (size_t i = 0; i < linears->count; i++) {
    const size_t leader = sb_tie_leader(linears, tie, i);
    if (leader == i) {
      out->of[i] = (uint32_t)out->count;
      for (size_t g = 0; g < gemms; g++) out->linear[out->count++] = i;
    } else {
      out->of[i] = out->of[leader];
    }
    for (size_t g = 0; g < gemms; g++)
      out->work[out->of[i] + g] += sb_linear_work(&linears->linears[i]) * (SB_GEMM_KINDS / gemms);
  }
  return SB_OK;
}

void sb_decisions_free(sb_decisions *decisions) {
  sb_free(&decisions->of);
  sb_free(&decisions->linear);
  sb_free(&decisions->work);
  decisions->count = 0;
}

sb_status sb_decisions_force(const sb_linears *linears, const sb_decisions *decisions,
                             const sb_precision *forced, sb_precision *of) {
  const size_t gemms = decisions->by == SB_BY_GEMM ? SB_GEMM_KINDS : 1;
  for (size_t d = 0; d < decisions->count; d++) of[d] = SB_PRECISION_FREE;
  for (size_t i = 0; forced && i < linears->count; i++) {
    const size_t first = decisions->of[i];
    if (forced[i] == SB_PRECISION_FREE) continue;
    if (of[first] != SB_PRECISION_FREE && of[first] != forced[i])
      return sb_fail(SB_ERR_RANGE, "%s is forced to %s, and tied to linears that are forced to %s",
                     linears->linears[i].name, sb_precision_names[forced[i]],
                     sb_precision_names[of[first]]);
    for (size_t g = 0; g < gemms; g++) of[first + g] = forced[i];
  }
  return SB_OK;
}
