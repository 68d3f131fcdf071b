/* What the formats of other trainers can carry (policy/export.h), and pieces of text that they
 * share. Local. */
#ifndef SB_POLICY_EXPORT_RULES_H
#define SB_POLICY_EXPORT_RULES_H

#include <stdbool.h>
#include <stdio.h>

#include "policy/policy_file.h"

/* What a trainer takes. */
typedef struct sb_export_rules {
  const char *trainer; /* "Megatron-LM" */
  /* By precision: the multiple that sizes must be of; 0: not supported. */
  size_t multiple[SB_PRECISION_COUNT];
  bool by_gemm; /* GEMMs of a linear may differ */
  bool fused;   /* q, k, v are one module, and gate and up */
} sb_export_rules;

/* SB_ERR_UNSUPPORTED with the first linear that breaks the rules; SB_ERR_FORMAT for a name that
 * has other characters than letters, digits, "_", "-" and ".", which would not be quoted. */
sb_status sb_export_check(const sb_policy *policy, const sb_export_rules *rules);

/* A Python dictionary LINEARS: {"NAME": ("fprop", "dgrad", "wgrad"), ...}. */
void sb_export_put_table(FILE *to, const sb_policy *policy);

/* What the file of a stage begins with, up to the stage's number. */
#define SB_EXPORT_STAGE_MARK "# Precisions of pipeline stage "
/* One file's text. */
void sb_export_megatron(FILE *to, const sb_policy *policy, size_t first, size_t end, size_t stage);
void sb_export_te(FILE *to, const sb_policy *policy);
void sb_export_torchao(FILE *to, const sb_policy *policy);
void sb_export_torchtitan(FILE *to, const sb_policy *policy);

/* A check beside those of the rules. */
sb_status sb_export_check_torchao(const sb_policy *policy);
/* Of modules whose names are not the model's own: SB_ERR_UNSUPPORTED for a kind of linear that the
 * trainer's model does not have. */
sb_status sb_export_check_kinds(const sb_policy *policy, const char *trainer);

/* A table of names of modules: Hugging Face's kind, and the trainer's module in layer N. */
typedef struct sb_export_name {
  const char *kind, *megatron, *torchtitan;
} sb_export_name;
/* Of a linear's kind; NULL where there is none. */
const sb_export_name *sb_export_name_of(const sb_linear *linear);

#endif
