/* Who else takes a folder, or could take a model (model/width_rules.h), one line each. */
#include "cli/inspect.h"

#include <string.h>

#include "base/memory.h"
#include "base/text.h"
#include "cli/report_json.h"
#include "cli/table.h"
#include "folders/output_open.h"
#include "model/exl3.h"
#include "model/width_rules.h"

/* Adds {"name", "legal", "why"} or with figures of a server to report["readers"]. */
static void add(json_t *list, const char *reader, size_t group, size_t parallel, const char *why) {
  json_t *entry = json_object();
  sb_report_text(entry, "name", reader);
  sb_report_flag(entry, "legal", why == NULL);
  if (why) sb_report_text(entry, "why", why);
  if (!why && group > 0) sb_report_count(entry, "group", group);
  if (!why && parallel > 0) sb_report_count(entry, "most_parallel", parallel);
  json_array_append_new(list, entry);
}

/* A line and an entry: `why` NULL is legal; group, parallel 0: not of this reader. */
static void tell(sb_widths_for reader, size_t group, size_t parallel, const char *why, FILE *out,
                 json_t *list) {
  const char *name = sb_widths_for_names[reader];
  char label[32], groups[64] = "", ranks[64] = "";
  snprintf(label, sizeof label, "for %s", name);
  if (group > 0) snprintf(groups, sizeof groups, ", groups of %zu", group);
  if (parallel > 0)
    snprintf(ranks, sizeof ranks, ", tensor-parallel on at most %zu rank%s", parallel,
             sb_text_s(parallel));
  if (why)
    sb_table_row(out, label, "no: %s", why);
  else
    sb_table_row(out, label, "yes%s%s", groups, ranks);
  add(list, name, group, parallel, why);
}

static size_t parallel_of(const sb_width_rules *rules, const sb_arch *arch, size_t group) {
  return rules->parts ? sb_width_rules_parallel(rules, arch, group) : 0;
}

void sb_inspect_readers_of_model(const sb_arch *arch, FILE *out, json_t *report) {
  json_t *list = json_array();
  for (int k = SB_WIDTHS_FOR_ANY + 1; k < SB_WIDTHS_FOR_COUNT; k++) {
    const sb_width_rules *rules = sb_width_rules_for((sb_widths_for)k);
    const bool grouped = rules->groups[0] > 0;
    size_t group = grouped ? sb_width_rules_group(rules, arch, 1) : 0, last = 0;
    while (last + 1 < SB_GROUP_LENGTHS && rules->groups[last + 1] > 0) last++;
    const sb_status status =
        grouped ? sb_width_rules_check_group(rules, arch, group ? group : rules->groups[last], 1)
                : sb_exl3_check_sides(arch);
    tell((sb_widths_for)k, group, status == SB_OK ? parallel_of(rules, arch, group) : 0,
         status == SB_OK ? NULL : sb_message(), out, list);
  }
  if (report) json_object_set(report, "readers", list);
  json_decref(list);
}

static void tell_output(const sb_widths_used *used, FILE *out, json_t *report) {
  json_t *list = json_array();
  for (int k = SB_WIDTHS_FOR_ANY + 1; k < SB_WIDTHS_FOR_COUNT; k++) {
    const sb_width_rules *rules = sb_width_rules_for((sb_widths_for)k);
    const bool legal = sb_width_rules_check_used(used, (sb_widths_for)k) == SB_OK;
    tell((sb_widths_for)k, 0, legal ? parallel_of(rules, used->arch, used->blocking.cols) : 0,
         legal ? NULL : sb_message(), out, list);
  }
  if (report) json_object_set(report, "readers", list);
  json_decref(list);
}

static sb_width_set set_of(const sb_output_tensor *tensor) {
  sb_width_set set = 0;
  for (unsigned bits = 1; bits < SB_WIDTHS; bits++)
    if (tensor->blocks[bits] > 0) set |= (sb_width_set)(1u << bits);
  return set;
}

/* The model is what sb_output_describe made of the folder: tensors are numbered as in its manifest.
 */
static sb_status tell_of(const sb_model *m, const sb_output_tensor *tensors, FILE *out,
                         json_t *report) {
  sb_widths_used used = {&m->arch, m->blocking, m->orders.mode, NULL, {0}};
  sb_width_set *matrices = NULL;
  SB_TRY(sb_alloc(&matrices, m->arch.matrix_count, sizeof *matrices, "widths of matrices"));
  for (size_t i = 0; i < m->arch.matrix_count; i++)
    matrices[i] = set_of(&tensors[m->arch.matrices[i]]);
  for (size_t i = 0; i < m->arch.count; i++) {
    const sb_role role = m->arch.tensors[i].role;
    if (role == SB_ROLE_EMBED && m->tables[0].coded) used.tables[0] = set_of(&tensors[i]);
    if (role == SB_ROLE_LM_HEAD && m->tables[1].coded) used.tables[1] = set_of(&tensors[i]);
  }
  used.matrices = matrices;
  tell_output(&used, out, report);
  sb_free(&matrices);
  return SB_OK;
}

sb_status sb_inspect_readers_of_output(const char *path, const sb_shardset *shards,
                                       const sb_output_tensor *tensors, FILE *out, json_t *report) {
  sb_model m = {0};
  sb_status status = sb_output_describe(path, shards, &m);
  SB_THEN(tell_of(&m, tensors, out, report));
  sb_arch_free(&m.arch);
  sb_orders_free(&m.orders);
  sb_free(&m.dtypes);
  return status;
}
