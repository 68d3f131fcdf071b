#include "train/optimizer_file.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "io/safetensors.h"
#include "io/safetensors_header.h"
#include "mpi/large.h"

enum { EXP_AVG, EXP_AVG_SQ, MASTER, PARTS };
static const char *const suffixes[PARTS] = {".exp_avg", ".exp_avg_sq", ".master"};

/* ---- writing ---- */

sb_status sb_optimizer_specs_create(const sb_arch *arch, sb_optimizer_specs *out) {
  size_t bytes = 0;
  *out = (sb_optimizer_specs){0};
  for (size_t i = 0; i < arch->count; i++)
    for (size_t part = 0; part < MASTER; part++)
      bytes += strlen(arch->tensors[i].name) + strlen(suffixes[part]) + 1;
  sb_status status = sb_alloc(&out->specs, MASTER * arch->count, sizeof *out->specs, "tensors");
  SB_THEN(sb_alloc(&out->names, bytes, 1, "names of tensors"));
  char *name = out->names;
  for (size_t k = 0; status == SB_OK && k < MASTER * arch->count; k++) {
    const sb_model_tensor *t = &arch->tensors[k % arch->count];
    out->specs[k] = (sb_tensor_spec){.name = name, .dtype = SB_F32, .dims = t->dims};
    out->specs[k].shape[0] = t->dims == 1 ? t->cols : t->rows;
    out->specs[k].shape[1] = t->dims == 1 ? 0 : t->cols;
    name = stpcpy(stpcpy(name, t->name), suffixes[k / arch->count]) + 1;
  }
  if (status != SB_OK) sb_optimizer_specs_free(out);
  return status;
}

void sb_optimizer_specs_free(sb_optimizer_specs *specs) {
  sb_free(&specs->specs);
  sb_free(&specs->names);
}

/* A number in the metadata: text that gives the same number again. */
typedef struct field {
  const char *key;
  uint64_t *whole; /* one of the two */
  double *real;
} field;

/* Writes the fields of `info` to fields[SB_OPTIMIZER_PAIRS]; returns their number. */
static size_t fields_of(sb_optimizer_info *info, uint64_t sizes[2], field *fields) {
  const field all[] = {{"step", &info->step, NULL},
                       {"updates", &info->updates, NULL},
                       {"rate", NULL, &info->rate},
                       {"beta1", NULL, &info->adamw.beta1},
                       {"beta2", NULL, &info->adamw.beta2},
                       {"eps", NULL, &info->adamw.eps},
                       {"weight_decay", NULL, &info->adamw.decay},
                       {"clip", NULL, &info->clip},
                       {"batch", &sizes[0], NULL},
                       {"seqlen", &sizes[1], NULL}};
  memcpy(fields, all, sizeof all);
  return sizeof all / sizeof *all;
}

void sb_optimizer_metadata_make(const sb_optimizer_info *info, sb_optimizer_metadata *out) {
  sb_optimizer_info copy = *info;
  uint64_t sizes[2] = {info->batch, info->seqlen};
  field fields[SB_OPTIMIZER_PAIRS];
  const size_t count = fields_of(&copy, sizes, fields);
  const char **pair = out->pairs;
  static const char *const fixed[] = {"format", "shardbits-optimizer", "version",
                                      "1",      "optimizer",           "adamw"};
  for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++) *pair++ = fixed[i];
  for (size_t i = 0; i < count; i++) {
    if (fields[i].whole)
      snprintf(out->text[i], SB_OPTIMIZER_TEXT, "%" PRIu64, *fields[i].whole);
    else
      snprintf(out->text[i], SB_OPTIMIZER_TEXT, "%.17g", *fields[i].real);
    *pair++ = fields[i].key;
    *pair++ = out->text[i];
  }
  *pair = NULL;
}

/* ---- reading ---- */

static sb_status require(const json_t *metadata, const char *path, const char *key,
                         const char *expected, sb_status otherwise) {
  const char *text = json_string_value(json_object_get(metadata, key));
  if (text && strcmp(text, expected) == 0) return SB_OK;
  return sb_fail(otherwise,
                 "%s: its %s is %s, not %s; tools/convert_optimizer.py makes such a file", path,
                 key, text ? text : "not said", expected);
}

static sb_status read_field(const json_t *metadata, const char *path, const field *f) {
  const char *text = json_string_value(json_object_get(metadata, f->key));
  char *end = NULL;
  errno = 0;
  if (text && f->whole)
    *f->whole = strtoull(text, &end, 10);
  else if (text)
    *f->real = strtod(text, &end);
  const bool good = text && *text && *end == '\0' && errno == 0 &&
                    (f->whole ? text[0] != '-' : isfinite(*f->real) && *f->real >= 0);
  if (good) return SB_OK;
  return sb_fail(SB_ERR_FORMAT, "%s: metadata '%s' is %s%s", path, f->key,
                 text ? "no such number: " : "missing", text ? text : "");
}

static sb_status parse(const json_t *metadata, const char *path, sb_optimizer_info *out) {
  uint64_t sizes[2] = {0};
  field fields[SB_OPTIMIZER_PAIRS];
  const size_t count = fields_of(out, sizes, fields);
  SB_TRY(require(metadata, path, "format", "shardbits-optimizer", SB_ERR_FORMAT));
  SB_TRY(require(metadata, path, "version", "1", SB_ERR_UNSUPPORTED));
  SB_TRY(require(metadata, path, "optimizer", "adamw", SB_ERR_UNSUPPORTED));
  for (size_t i = 0; i < count; i++) SB_TRY(read_field(metadata, path, &fields[i]));
  out->batch = sizes[0];
  out->seqlen = sizes[1];
  return SB_OK;
}

sb_status sb_optimizer_file_info(const char *path, sb_optimizer_info *out) {
  json_t *metadata;
  *out = (sb_optimizer_info){0};
  SB_TRY(sb_safetensors_metadata_read(path, &metadata));
  const sb_status status = parse(metadata, path, out);
  json_decref(metadata);
  return status;
}

/* The tensor NAME + suffix of a model's tensor; *out NULL where the file has none. */
static sb_status find(const sb_safetensors *file, const char *path, const sb_model_tensor *t,
                      size_t part, const sb_tensor_info **out) {
  char name[512];
  if ((size_t)snprintf(name, sizeof name, "%s%s", t->name, suffixes[part]) >= sizeof name)
    return sb_fail(SB_ERR_UNSUPPORTED, "%s: the name %.64s... is too long", path, t->name);
  const sb_tensor_info *info = *out = sb_safetensors_find(file, name);
  if (!info && part == MASTER) return SB_OK;
  if (!info)
    return sb_fail(SB_ERR_FORMAT, "%s: has no tensor %s; is it of another model?", path, name);
  if (info->dtype != SB_F32)
    return sb_fail(SB_ERR_FORMAT, "%s: tensor %s is %s, F32 is read", path, name, info->type_name);
  const size_t rows = t->dims == 1 ? t->cols : t->rows;
  if (info->dims != t->dims || info->shape[0] != rows ||
      (t->dims == 2 && info->shape[1] != t->cols))
    return sb_fail(SB_ERR_FORMAT, "%s: tensor %s has another shape than the model's, [%zu, %zu]",
                   path, name, t->rows, t->cols);
  return SB_OK;
}

static sb_status check_values(const char *path, const sb_model_tensor *t, size_t part,
                              const float *values, size_t count) {
  for (size_t i = 0; i < count; i++)
    if (!isfinite(values[i]) || (part == EXP_AVG_SQ && values[i] < 0))
      return sb_fail(SB_ERR_NUMERIC, "%s: tensor %s%s holds %g", path, t->name, suffixes[part],
                     (double)values[i]);
  return SB_OK;
}

static sb_status read_unit(const sb_safetensors *file, const char *path, const sb_optimizer *o,
                           size_t unit, size_t *masters) {
  const sb_share *s = &o->shares->units[unit];
  const sb_model_tensor *t = &o->shares->model->arch.tensors[s->tensor];
  const sb_optimizer_unit to = sb_optimizer_unit_at(o, unit);
  float *const at[PARTS] = {to.m, to.v, to.master};
  for (size_t part = 0; part < PARTS; part++) {
    const sb_tensor_info *info = NULL;
    SB_TRY(find(file, path, t, part, &info));
    if (!info) continue;
    SB_TRY(sb_safetensors_read(file, info, (uint64_t)s->first_row * t->cols * sizeof(float),
                               s->count * sizeof(float), at[part]));
    SB_TRY(check_values(path, t, part, at[part], s->count));
    *masters += part == MASTER;
  }
  return SB_OK;
}

static sb_status read_units(const char *path, sb_optimizer *o, size_t *masters) {
  sb_safetensors *file = NULL;
  sb_optimizer_info info;
  SB_TRY(sb_optimizer_file_info(path, &info));
  SB_TRY(sb_safetensors_open(path, &file));
  sb_status status = SB_OK;
  for (size_t u = 0; status == SB_OK && u < o->shares->count; u++)
    status = read_unit(file, path, o, u, masters);
  o->updates = info.updates;
  sb_safetensors_close(&file);
  return status;
}

sb_status sb_optimizer_file_read(const sb_world *world, const char *path, sb_optimizer *optimizer,
                                 bool *masters) {
  size_t count = 0;
  SB_AGREE(world, read_units(path, optimizer, &count));
  uint64_t units[2] = {count, optimizer->shares->count};
  SB_TRY(sb_mpi_sum_u64(units, 2, world->comm));
  *masters = units[0] > 0;
  if (units[0] == 0 || units[0] == units[1]) return SB_OK;
  return sb_fail(SB_ERR_FORMAT, "%s: has masters of some tensors only", path);
}
