#include "policy/profile_file.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "base/memory.h"
#include "io/json.h"
#include "policy/policy_file.h"

#define FORMAT "shardbits-profile"
enum { VERSION = 1 };

const char *const sb_metric_names[] = {"exact", "norms", NULL};
const char *const sb_combine_names[] = {"sum", "squares", NULL};

static const char *const norm_names[] = {"x", "w", "y", "dx", "dw", "dy"};
enum { NORMS = sizeof norm_names / sizeof *norm_names, WHERE = 160 };

sb_status sb_profile_create(const sb_linears *model, const sb_precision *precisions, size_t count,
                            sb_profile *out) {
  *out = (sb_profile){.precision_count = count};
  memcpy(out->precisions, precisions, count * sizeof *precisions);
  sb_status status = sb_linears_copy(model, &out->model);
  SB_THEN(sb_alloc(&out->norms, model->count, sizeof *out->norms, "profile"));
  SB_THEN(sb_alloc(&out->entries, model->count * count, sizeof *out->entries, "profile"));
  if (status != SB_OK) sb_profile_free(out);
  return status;
}

void sb_profile_free(sb_profile *profile) {
  sb_linears_free(&profile->model);
  sb_free(&profile->norms);
  sb_free(&profile->entries);
}

size_t sb_profile_find(const sb_profile *profile, sb_precision precision) {
  for (size_t p = 0; p < profile->precision_count; p++)
    if (profile->precisions[p] == precision) return p;
  return SB_NONE;
}

static const char *part_name(int part) {
  return part == SB_PART_ALL ? "all" : sb_gemm_kind_names[part];
}

/* The members of a struct of norms, in the order of norm_names. */
static double *norm_at(sb_profile_norms *norms, int i) {
  double *const members[] = {&norms->x, &norms->w, &norms->y, &norms->dx, &norms->dw, &norms->dy};
  return members[i];
}

/* ---- reading ---- */

/* Squares of such numbers, with the largest factor, add up to finite scores. */
static const double most = 1e100;

static sb_status parse_number(const char *path, const char *where, const json_t *object,
                              const char *key, double least, double *out) {
  SB_TRY(sb_json_get_real(path, where, object, key, out));
  if (*out >= least && *out <= most) return SB_OK;
  return sb_fail(SB_ERR_FORMAT, "%s: %s: \"%s\" is %g; it must lie in %g .. %g", path, where, key,
                 *out, least, most);
}

/* Norms are not negative. */
static sb_status parse_norm(const char *path, const char *where, const json_t *object,
                            const char *key, double *out) {
  return parse_number(path, where, object, key, 0, out);
}

static sb_status parse_divergence(const char *path, const char *where, const char *key,
                                  const json_t *object, sb_divergence *out) {
  char inner[WHERE + 64];
  json_t *pair;
  SB_TRY(sb_json_get_object(path, where, object, key, &pair));
  snprintf(inner, sizeof inner, "%s: %s", where, key);
  SB_TRY(parse_number(path, inner, pair, "loss", -most, &out->loss));
  return parse_norm(path, inner, pair, "weight", &out->weight);
}

static sb_status parse_metric(const char *path, const char *where, const json_t *object, int metric,
                              sb_profile_entry *out) {
  char inner[WHERE + 32];
  json_t *parts;
  SB_TRY(sb_json_get_object(path, where, object, sb_metric_names[metric], &parts));
  snprintf(inner, sizeof inner, "%s: %s", where, sb_metric_names[metric]);
  for (int part = 0; part < SB_PARTS; part++)
    SB_TRY(parse_divergence(path, inner, part_name(part), parts, &out->parts[metric][part]));
  return SB_OK;
}

static sb_status parse_entry(const char *path, const char *where, const json_t *object,
                             const sb_profile *profile, sb_profile_entry *out) {
  SB_TRY(parse_norm(path, where, object, "abs_error", &out->abs_error));
  SB_TRY(parse_norm(path, where, object, "rel_error", &out->rel_error));
  for (int metric = 0; metric < SB_METRIC_COUNT; metric++)
    if (profile->has_metric[metric]) SB_TRY(parse_metric(path, where, object, metric, out));
  if (!profile->has_truth) return SB_OK;
  return parse_divergence(path, where, "truth", object, &out->truth);
}

static sb_status parse_linear(const char *path, const json_t *entry, sb_profile *profile,
                              size_t i) {
  const char *name = profile->model.linears[i].name;
  char where[WHERE];
  json_t *norms, *precisions, *object;
  SB_TRY(sb_json_get_object(path, name, entry, "norms", &norms));
  for (int n = 0; n < NORMS; n++)
    SB_TRY(parse_norm(path, name, norms, norm_names[n], norm_at(&profile->norms[i], n)));
  SB_TRY(sb_json_get_object(path, name, entry, "precisions", &precisions));
  for (size_t p = 0; p < profile->precision_count; p++) {
    const char *precision = sb_precision_names[profile->precisions[p]];
    SB_TRY(sb_json_get_object(path, name, precisions, precision, &object));
    snprintf(where, sizeof where, "%s: %s", name, precision);
    SB_TRY(parse_entry(path, where, object, profile, sb_profile_at(profile, i, p)));
  }
  return SB_OK;
}

static sb_status parse_precisions(const char *path, const json_t *object, sb_profile *out) {
  json_t *list;
  SB_TRY(sb_json_get_array(path, "", object, "precisions", &list));
  out->precision_count = 0;
  for (size_t p = 0; p < json_array_size(list); p++) {
    const char *text = json_string_value(json_array_get(list, p));
    sb_precision precision;
    if (!text) return sb_fail(SB_ERR_FORMAT, "%s: \"precisions\" is no list of names", path);
    SB_TRY(sb_policy_parse_precision(path, "\"precisions\"", text, &precision));
    if (precision == SB_PRECISION_HIGH)
      return sb_fail(SB_ERR_FORMAT, "%s: \"precisions\" has %s, which is no low precision", path,
                     text);
    if (sb_profile_find(out, precision) != SB_NONE)
      return sb_fail(SB_ERR_FORMAT, "%s: \"precisions\" has %s twice", path, text);
    out->precisions[out->precision_count++] = precision;
  }
  if (out->precision_count == 0)
    return sb_fail(SB_ERR_FORMAT,
                   "%s: \"precisions\" is empty; shardbits profile --precision "
                   "says what is measured",
                   path);
  return SB_OK;
}

static sb_status parse_combine(const char *path, const json_t *object, sb_combine *out) {
  const char *text;
  SB_TRY(sb_json_get_string(path, "", object, "combine", &text));
  for (int i = 0; sb_combine_names[i]; i++)
    if (strcmp(text, sb_combine_names[i]) == 0) {
      *out = (sb_combine)i;
      return SB_OK;
    }
  return sb_fail(SB_ERR_FORMAT, "%s: \"combine\" is %.40s; it must be sum or squares", path, text);
}

static sb_status parse_run(const char *path, const json_t *object, sb_profile *out) {
  uint64_t batch, seqlen;
  SB_TRY(sb_json_get_u64(path, "", object, "step", INT64_MAX, &out->step));
  SB_TRY(sb_json_get_real(path, "", object, "loss", &out->loss));
  SB_TRY(sb_json_get_u64(path, "", object, "batch", INT32_MAX, &batch));
  SB_TRY(sb_json_get_u64(path, "", object, "seqlen", sb_limit_positions.most, &seqlen));
  out->batch = (size_t)batch;
  out->seqlen = (size_t)seqlen;
  return parse_combine(path, object, &out->combine);
}

/* What the first entry has, all must have. */
static void find_metrics(const json_t *entries, sb_profile *out) {
  const json_t *precisions = json_object_get(json_array_get(entries, 0), "precisions");
  const json_t *first = json_object_get(precisions, sb_precision_names[out->precisions[0]]);
  for (int metric = 0; metric < SB_METRIC_COUNT; metric++)
    out->has_metric[metric] = json_object_get(first, sb_metric_names[metric]) != NULL;
  out->has_truth = json_object_get(first, "truth") != NULL;
}

sb_status sb_profile_parse(const char *path, const json_t *object, sb_profile *out) {
  json_t *entries;
  sb_status status;
  *out = (sb_profile){0};
  SB_TRY(sb_policy_check_format(path, object, FORMAT, "shardbits profile makes"));
  SB_TRY(parse_run(path, object, out));
  SB_TRY(parse_precisions(path, object, out));
  SB_TRY(sb_linears_parse(path, object, &out->model, &entries));
  SB_GO(sb_alloc(&out->norms, out->model.count, sizeof *out->norms, "profile"));
  SB_GO(sb_alloc(&out->entries, out->model.count * out->precision_count, sizeof *out->entries,
                 "profile"));
  find_metrics(entries, out);
  for (size_t i = 0; i < out->model.count; i++)
    SB_GO(parse_linear(path, json_array_get(entries, i), out, i));
done:
  if (status != SB_OK) sb_profile_free(out);
  return status;
}

sb_status sb_profile_read(const char *path, sb_profile *out) {
  json_t *object = NULL;
  *out = (sb_profile){0};
  SB_TRY(sb_json_read(path, &object));
  const sb_status status = sb_profile_parse(path, object, out);
  json_decref(object);
  return status;
}

/* ---- writing ---- */

/* jansson makes NULL of NaN and infinity, and packing then fails. */
static json_t *describe_divergence(const sb_divergence *divergence) {
  return json_pack("{s:f, s:f}", "loss", divergence->loss, "weight", divergence->weight);
}

static json_t *describe_parts(const sb_divergence *parts) {
  json_t *out = json_object();
  int wrong = 0;
  for (int part = 0; part < SB_PARTS; part++)
    wrong |= json_object_set_new(out, part_name(part), describe_divergence(&parts[part]));
  if (!wrong) return out;
  json_decref(out);
  return NULL;
}

static json_t *describe_entry(const sb_profile *profile, const sb_profile_entry *entry) {
  json_t *out =
      json_pack("{s:f, s:f}", "abs_error", entry->abs_error, "rel_error", entry->rel_error);
  int wrong = out == NULL;
  for (int metric = 0; metric < SB_METRIC_COUNT && !wrong; metric++)
    if (profile->has_metric[metric])
      wrong =
          json_object_set_new(out, sb_metric_names[metric], describe_parts(entry->parts[metric]));
  if (profile->has_truth && !wrong)
    wrong = json_object_set_new(out, "truth", describe_divergence(&entry->truth));
  if (!wrong) return out;
  json_decref(out);
  return NULL;
}

static json_t *describe_norms(const sb_profile_norms *norms) {
  sb_profile_norms copy = *norms;
  json_t *out = json_object();
  int wrong = 0;
  for (int n = 0; n < NORMS; n++)
    wrong |= json_object_set_new(out, norm_names[n], json_real(*norm_at(&copy, n)));
  if (!wrong) return out;
  json_decref(out);
  return NULL;
}

static sb_status not_finite(const char *path, const char *name, const char *what) {
  return sb_fail(SB_ERR_NUMERIC, "%s: %s: %s has a number that is not finite", path, name, what);
}

static sb_status describe_linear(const char *path, const sb_profile *profile, size_t i,
                                 json_t *list) {
  const sb_linear *linear = &profile->model.linears[i];
  json_t *entry = sb_linear_describe(linear), *precisions = json_object();
  if (json_array_append_new(list, entry) != 0 ||
      json_object_set_new(entry, "norms", describe_norms(&profile->norms[i])) != 0) {
    json_decref(precisions);
    return not_finite(path, linear->name, "its norms");
  }
  json_object_set_new(entry, "precisions", precisions);
  for (size_t p = 0; p < profile->precision_count; p++) {
    const char *name = sb_precision_names[profile->precisions[p]];
    json_t *value = describe_entry(profile, sb_profile_at(profile, i, p));
    if (json_object_set_new(precisions, name, value) != 0)
      return not_finite(path, linear->name, name);
  }
  return SB_OK;
}

sb_status sb_profile_describe(const char *path, const sb_profile *profile, json_t **out) {
  json_t *list = json_array(), *names = json_array();
  sb_status status = SB_OK;
  for (size_t p = 0; p < profile->precision_count; p++)
    json_array_append_new(names, json_string(sb_precision_names[profile->precisions[p]]));
  if (!isfinite(profile->loss)) status = not_finite(path, "loss", "it");
  *out = json_pack("{s:s, s:i, s:o, s:I, s:f, s:I, s:I, s:s, s:o, s:o}", "format", FORMAT,
                   "version", VERSION, "model", sb_linears_describe(&profile->model), "step",
                   (json_int_t)profile->step, "loss", isfinite(profile->loss) ? profile->loss : 0,
                   "batch", (json_int_t)profile->batch, "seqlen", (json_int_t)profile->seqlen,
                   "combine", sb_combine_names[profile->combine], "precisions", names, "linears",
                   list);
  if (!*out) return sb_fail(SB_ERR_MEMORY, "profile: out of memory");
  for (size_t i = 0; i < profile->model.count; i++)
    SB_THEN(describe_linear(path, profile, i, list));
  return status;
}

sb_status sb_profile_write(const char *path, const sb_profile *profile) {
  json_t *object = NULL;
  sb_status status = sb_profile_describe(path, profile, &object);
  SB_THEN(sb_json_write(path, object));
  json_decref(object);
  return status;
}
