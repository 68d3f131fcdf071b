#include "policy/policy_file.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "io/json.h"

enum { VERSION = 1 };

sb_status sb_policy_create(const sb_linears *model, sb_policy *out) {
  *out = (sb_policy){0};
  sb_status status = sb_linears_copy(model, &out->model);
  SB_THEN(sb_alloc(&out->choices, model->count, sizeof *out->choices, "policy"));
  if (status != SB_OK) sb_policy_free(out);
  return status; /* all zero: SB_PRECISION_HIGH */
}

void sb_policy_free(sb_policy *policy) {
  sb_linears_free(&policy->model);
  sb_free(&policy->choices);
  json_decref(policy->about);
  policy->about = NULL;
}

double sb_policy_share(const sb_policy *policy, unsigned bits) {
  uint64_t all = 0, some = 0;
  for (size_t i = 0; i < policy->model.count; i++)
    for (int g = 0; g < SB_GEMM_KINDS; g++) {
      const uint64_t work = sb_linear_work(&policy->model.linears[i]);
      all += work;
      if (sb_precision_bits(policy->choices[i].gemm[g]) == bits) some += work;
    }
  return all ? (double)some / (double)all : 0;
}

/* ---- reading ---- */

sb_status sb_policy_check_format(const char *path, const json_t *object, const char *format,
                                 const char *source) {
  const char *text = json_string_value(json_object_get(object, "format"));
  uint64_t version;
  if (!text || strcmp(text, format) != 0)
    return sb_fail(SB_ERR_FORMAT, "%s: \"format\" is not %s; %s such files", path, format, source);
  SB_TRY(sb_json_get_u64(path, "", object, "version", INT64_MAX, &version));
  if (version > VERSION)
    return sb_fail(SB_ERR_UNSUPPORTED,
                   "%s: has version %" PRIu64 " of %s; this program reads version %d", path,
                   version, format, VERSION);
  return SB_OK;
}

sb_status sb_policy_parse_precision(const char *path, const char *where, const char *text,
                                    sb_precision *out) {
  char known[128] = "";
  if (sb_precision_parse(text, out)) return SB_OK;
  for (int i = 0; i < SB_PRECISION_COUNT; i++) {
    const size_t at = strlen(known);
    snprintf(known + at, sizeof known - at, i ? ", %s" : "%s", sb_precision_names[i]);
  }
  return sb_fail(SB_ERR_FORMAT, "%s: %s: %.40s is no precision; known are %s", path, where, text,
                 known);
}

static sb_status parse_choice(const char *path, const char *name, const json_t *entry,
                              sb_policy_choice *out) {
  for (int g = 0; g < SB_GEMM_KINDS; g++) {
    const char *text;
    SB_TRY(sb_json_get_string(path, name, entry, sb_gemm_kind_names[g], &text));
    SB_TRY(sb_policy_parse_precision(path, name, text, &out->gemm[g]));
  }
  return SB_OK;
}

/* The members that say how the policy was made: all but those that it is made of. */
static sb_status keep_about(const json_t *object, sb_policy *out) {
  static const char *const own[] = {"format", "version", "model", "share", "linears"};
  out->about = json_copy((json_t *)object);
  if (!out->about) return sb_fail(SB_ERR_MEMORY, "policy: out of memory");
  for (size_t i = 0; i < sizeof own / sizeof *own; i++) json_object_del(out->about, own[i]);
  return SB_OK;
}

sb_status sb_policy_parse(const char *path, const json_t *object, sb_policy *out) {
  json_t *entries;
  sb_status status;
  *out = (sb_policy){0};
  SB_TRY(sb_policy_check_format(path, object, SB_POLICY_FORMAT, "shardbits policy makes"));
  SB_TRY(sb_linears_parse(path, object, &out->model, &entries));
  SB_GO(sb_alloc(&out->choices, out->model.count, sizeof *out->choices, "policy"));
  for (size_t i = 0; i < out->model.count; i++)
    SB_GO(parse_choice(path, out->model.linears[i].name, json_array_get(entries, i),
                       &out->choices[i]));
  SB_GO(keep_about(object, out));
done:
  if (status != SB_OK) sb_policy_free(out);
  return status;
}

sb_status sb_policy_read(const char *path, sb_policy *out) {
  json_t *object = NULL;
  *out = (sb_policy){0};
  SB_TRY(sb_json_read(path, &object));
  const sb_status status = sb_policy_parse(path, object, out);
  json_decref(object);
  return status;
}

/* ---- writing ---- */

static sb_status describe_linear(const sb_linear *linear, const sb_policy_choice *choice,
                                 json_t *list) {
  json_t *entry = sb_linear_describe(linear);
  int wrong = json_array_append_new(list, entry);
  for (int g = 0; g < SB_GEMM_KINDS && !wrong; g++)
    wrong = json_object_set_new(entry, sb_gemm_kind_names[g],
                                json_string(sb_precision_names[choice->gemm[g]]));
  return wrong ? sb_fail(SB_ERR_MEMORY, "policy: out of memory") : SB_OK;
}

static sb_status describe(const sb_policy *policy, json_t **out) {
  json_t *list = json_array();
  sb_status status = SB_OK;
  *out = json_pack("{s:s, s:i, s:o, s:{s:f, s:f}, s:o}", "format", SB_POLICY_FORMAT, "version",
                   VERSION, "model", sb_linears_describe(&policy->model), "share", "fp4",
                   sb_policy_share(policy, 4), "fp8", sb_policy_share(policy, 8), "linears", list);
  if (!*out) return sb_fail(SB_ERR_MEMORY, "policy: out of memory");
  for (size_t i = 0; i < policy->model.count; i++)
    SB_THEN(describe_linear(&policy->model.linears[i], &policy->choices[i], list));
  if (policy->about && json_object_update_missing(*out, policy->about) != 0)
    SB_THEN(sb_fail(SB_ERR_MEMORY, "policy: out of memory"));
  return status;
}

sb_status sb_policy_write(const char *path, const sb_policy *policy) {
  json_t *object = NULL;
  sb_status status = describe(policy, &object);
  SB_THEN(sb_json_write(path, object));
  json_decref(object);
  return status;
}
