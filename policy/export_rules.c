#include "policy/export_rules.h"

#include <string.h>

#include "policy/decisions.h"

static const sb_export_name names[] = {
    {"q_proj", "self_attention.linear_qkv", "attention.qkv_linear.wq"},
    {"k_proj", "self_attention.linear_qkv", "attention.qkv_linear.wk"},
    {"v_proj", "self_attention.linear_qkv", "attention.qkv_linear.wv"},
    {"o_proj", "self_attention.linear_proj", "attention.wo"},
    {"gate_proj", "mlp.linear_fc1", "feed_forward.w1"},
    {"up_proj", "mlp.linear_fc1", "feed_forward.w3"},
    {"down_proj", "mlp.linear_fc2", "feed_forward.w2"}};

const sb_export_name *sb_export_name_of(const sb_linear *linear) {
  for (size_t k = 0; k < sizeof names / sizeof *names; k++)
    if (strcmp(names[k].kind, sb_linear_kind(linear)) == 0) return &names[k];
  return NULL;
}

sb_status sb_export_check_kinds(const sb_policy *policy, const char *trainer) {
  for (size_t i = 0; i < policy->model.count; i++)
    if (!sb_export_name_of(&policy->model.linears[i]))
      return sb_fail(SB_ERR_UNSUPPORTED, "%s: %s has no such module; only Llama's are known",
                     policy->model.linears[i].name, trainer);
  return SB_OK;
}

static sb_status check_precision(const sb_linear *l, sb_precision precision,
                                 const sb_export_rules *rules) {
  const size_t multiple = rules->multiple[precision];
  const char *name = sb_precision_names[precision];
  if (multiple == 0)
    return sb_fail(SB_ERR_UNSUPPORTED, "%s: %s has no %s; choose among others with --precision",
                   l->name, rules->trainer, name);
  if (l->rows % multiple == 0 && l->cols % multiple == 0) return SB_OK;
  return sb_fail(SB_ERR_UNSUPPORTED,
                 "%s: %s in %s wants multiples of %zu, and it is %zu x %zu; --force '*.%s=bf16'",
                 l->name, name, rules->trainer, multiple, l->rows, l->cols, sb_linear_kind(l));
}

static sb_status check_linear(const sb_policy *policy, size_t i, const sb_export_rules *rules) {
  const sb_linear *l = &policy->model.linears[i];
  const sb_policy_choice *choice = &policy->choices[i];
  const char *allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.";
  if (strspn(l->name, allowed) != strlen(l->name))
    return sb_fail(SB_ERR_FORMAT, "%s: is no name of a module", l->name);
  for (int g = 0; g < SB_GEMM_KINDS; g++) SB_TRY(check_precision(l, choice->gemm[g], rules));
  if (!rules->by_gemm && !sb_policy_choice_is_uniform(choice))
    return sb_fail(SB_ERR_UNSUPPORTED,
                   "%s: %s gives the three GEMMs of a linear one precision; choose --by linear",
                   l->name, rules->trainer);
  const size_t first = rules->fused ? sb_tie_leader(&policy->model, SB_TIE_FUSED, i) : i;
  if (memcmp(&policy->choices[first], choice, sizeof *choice) == 0) return SB_OK;
  return sb_fail(SB_ERR_UNSUPPORTED,
                 "%s: %s has it in one module with %s, of another precision; choose --tie fused",
                 l->name, rules->trainer, policy->model.linears[first].name);
}

sb_status sb_export_check(const sb_policy *policy, const sb_export_rules *rules) {
  for (size_t i = 0; i < policy->model.count; i++) SB_TRY(check_linear(policy, i, rules));
  return SB_OK;
}

void sb_export_put_table(FILE *to, const sb_policy *policy) {
  fputs("# precisions of y = x W', of dx = dy W and of dW = dy' x\nLINEARS = {\n", to);
  for (size_t i = 0; i < policy->model.count; i++) {
    const sb_precision *p = policy->choices[i].gemm;
    fprintf(to, "    \"%s\": (\"%s\", \"%s\", \"%s\"),\n", policy->model.linears[i].name,
            sb_precision_names[p[SB_FPROP]], sb_precision_names[p[SB_DGRAD]],
            sb_precision_names[p[SB_WGRAD]]);
  }
  fputs("}\n", to);
}
