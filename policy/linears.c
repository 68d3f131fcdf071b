#include "policy/linears.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "base/memory.h"
#include "base/text.h"
#include "io/json.h"
#include "io/name_table.h"

#define WEIGHT ".weight"

static sb_status allocate(size_t count, sb_linears *out) {
  SB_TRY(sb_alloc(&out->linears, count, sizeof *out->linears, "table of linear layers"));
  out->count = count;
  return SB_OK;
}

void sb_linears_free(sb_linears *linears) {
  sb_free(&linears->linears);
  linears->count = 0;
}

sb_status sb_linears_of(const sb_arch *arch, sb_linears *out) {
  const sb_config *config = &arch->config;
  *out = (sb_linears){.layers = config->layers,
                      .hidden = config->hidden,
                      .intermediate = config->intermediate,
                      .vocab = config->vocab};
  memcpy(out->architecture, config->architecture, sizeof out->architecture);
  SB_TRY(allocate(arch->matrix_count, out));
  for (size_t i = 0; i < out->count; i++) {
    const sb_model_tensor *tensor = &arch->tensors[arch->matrices[i]];
    sb_linear *linear = &out->linears[i];
    size_t length = strlen(tensor->name);
    if (sb_text_ends(tensor->name, WEIGHT)) length -= strlen(WEIGHT);
    memcpy(linear->name, tensor->name, length);
    linear->layer = tensor->layer;
    linear->rows = tensor->rows;
    linear->cols = tensor->cols;
  }
  return SB_OK;
}

sb_status sb_linears_copy(const sb_linears *from, sb_linears *out) {
  *out = *from;
  out->linears = NULL;
  out->count = 0;
  SB_TRY(allocate(from->count, out));
  memcpy(out->linears, from->linears, from->count * sizeof *from->linears);
  return SB_OK;
}

static sb_status differs(const char *path, const char *what, size_t there, size_t here) {
  if (there == here) return SB_OK;
  return sb_fail(SB_ERR_FORMAT, "%s: made for another model: %zu %s where this one has %zu", path,
                 there, what, here);
}

sb_status sb_linears_check(const char *path, const sb_linears *file, const sb_linears *model) {
  if (strcmp(file->architecture, model->architecture) != 0)
    return sb_fail(SB_ERR_FORMAT, "%s: made for another model: %s where this one is %s", path,
                   file->architecture, model->architecture);
  SB_TRY(differs(path, "layers", file->layers, model->layers));
  SB_TRY(differs(path, "hidden channels", file->hidden, model->hidden));
  SB_TRY(differs(path, "channels of the MLP", file->intermediate, model->intermediate));
  SB_TRY(differs(path, "tokens in the vocabulary", file->vocab, model->vocab));
  SB_TRY(differs(path, "linear layers", file->count, model->count));
  for (size_t i = 0; i < file->count; i++) {
    const sb_linear *there = &file->linears[i], *here = &model->linears[i];
    if (strcmp(there->name, here->name) != 0 || there->layer != here->layer)
      return sb_fail(SB_ERR_FORMAT, "%s: made for another model: %s where this one has %s", path,
                     there->name, here->name);
    if (there->rows != here->rows || there->cols != here->cols)
      return sb_fail(SB_ERR_FORMAT,
                     "%s: made for another model: %s is %zu x %zu where this one has %zu x %zu",
                     path, there->name, there->rows, there->cols, here->rows, here->cols);
  }
  return SB_OK;
}

const char *sb_linear_kind(const sb_linear *linear) {
  const char *dot = strrchr(linear->name, '.');
  return dot ? dot + 1 : linear->name;
}

/* ---- JSON ---- */

json_t *sb_linears_describe(const sb_linears *linears) {
  return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I}", "architecture", linears->architecture,
                   "layers", (json_int_t)linears->layers, "hidden", (json_int_t)linears->hidden,
                   "intermediate", (json_int_t)linears->intermediate, "vocab",
                   (json_int_t)linears->vocab, "linears", (json_int_t)linears->count);
}

json_t *sb_linear_describe(const sb_linear *linear) {
  return json_pack("{s:s, s:I, s:I, s:I}", "name", linear->name, "layer", (json_int_t)linear->layer,
                   "rows", (json_int_t)linear->rows, "cols", (json_int_t)linear->cols);
}

static sb_status parse_size(const char *path, const char *where, const json_t *object,
                            const char *key, const sb_limit *limit, size_t *out) {
  uint64_t value;
  SB_TRY(sb_json_get_u64(path, where, object, key, limit->most, &value));
  if (!sb_limit_allows(limit, value))
    return sb_fail(SB_ERR_FORMAT, "%s: %s: \"%s\" is %" PRIu64 "; it must be at least %" PRIu64,
                   path, where, key, value, limit->least);
  *out = (size_t)value;
  return SB_OK;
}

/* A string that fits into text[size]. */
static sb_status parse_text(const char *path, const char *where, const json_t *object,
                            const char *key, char *text, size_t size) {
  const char *value;
  SB_TRY(sb_json_get_string(path, where, object, key, &value));
  if (!*value || strlen(value) >= size)
    return sb_fail(SB_ERR_FORMAT, "%s: %s: \"%s\" has %zu bytes; 1 to %zu are possible", path,
                   where, key, strlen(value), size - 1);
  memcpy(text, value, strlen(value) + 1);
  return SB_OK;
}

static sb_status parse_model(const char *path, const json_t *object, sb_linears *out) {
  static const char where[] = "model";
  json_t *model;
  SB_TRY(sb_json_get_object(path, "", object, where, &model));
  SB_TRY(
      parse_text(path, where, model, "architecture", out->architecture, sizeof out->architecture));
  SB_TRY(parse_size(path, where, model, "layers", &sb_limit_layers, &out->layers));
  SB_TRY(parse_size(path, where, model, "hidden", &sb_limit_hidden, &out->hidden));
  SB_TRY(
      parse_size(path, where, model, "intermediate", &sb_limit_intermediate, &out->intermediate));
  return parse_size(path, where, model, "vocab", &sb_limit_vocab, &out->vocab);
}

static sb_status parse_linear(const char *path, const json_t *entry, size_t number,
                              const sb_linears *model, sb_linear *out) {
  char where[48];
  const sb_limit side = {1, (uint64_t)1 << 25}, layer = {0, model->layers - 1};
  snprintf(where, sizeof where, "linear %zu", number);
  if (!json_is_object(entry)) return sb_fail(SB_ERR_FORMAT, "%s: %s is not an object", path, where);
  SB_TRY(parse_text(path, where, entry, "name", out->name, sizeof out->name));
  SB_TRY(parse_size(path, out->name, entry, "layer", &layer, &out->layer));
  SB_TRY(parse_size(path, out->name, entry, "rows", &side, &out->rows));
  SB_TRY(parse_size(path, out->name, entry, "cols", &side, &out->cols));
  if (number > 0 && out->layer < model->linears[number - 1].layer)
    return sb_fail(SB_ERR_FORMAT,
                   "%s: %s of layer %zu stands behind layer %zu; order them by layer", path,
                   out->name, out->layer, model->linears[number - 1].layer);
  return SB_OK;
}

/* Linears of a layer, and multiply-adds per token and GEMM of all, at most. */
enum { MOST_LINEARS = 1024 };
static const uint64_t most_work = (uint64_t)1 << 56;

static sb_status parse_linears(const char *path, const json_t *entries, sb_linears *out) {
  sb_name_table names = {0};
  uint64_t work = 0;
  sb_status status;
  SB_GO(sb_name_table_create(out->count, &names));
  for (size_t i = 0; i < out->count; i++) {
    sb_linear *linear = &out->linears[i];
    SB_GO(parse_linear(path, json_array_get(entries, i), i, out, linear));
    if (sb_name_table_add(&names, linear->name, i) != i)
      SB_GO(sb_fail(SB_ERR_FORMAT, "%s: %s stands in it twice", path, linear->name));
    work += sb_linear_work(linear);
    if (work > most_work)
      SB_GO(sb_fail(SB_ERR_FORMAT, "%s: %s: the linear layers have more than 2^56 weights", path,
                    linear->name));
  }
done:
  sb_name_table_free(&names);
  return status;
}

sb_status sb_linears_parse(const char *path, const json_t *object, sb_linears *out,
                           json_t **entries) {
  uint64_t count;
  json_t *model;
  *out = (sb_linears){0};
  SB_TRY(parse_model(path, object, out));
  SB_TRY(sb_json_get_object(path, "", object, "model", &model));
  SB_TRY(sb_json_get_u64(path, "model", model, "linears", MOST_LINEARS * out->layers, &count));
  SB_TRY(sb_json_get_array(path, "", object, "linears", entries));
  if (count == 0 || count != json_array_size(*entries))
    return sb_fail(SB_ERR_FORMAT,
                   "%s: it says that there are %" PRIu64 " linear layers, and describes %zu", path,
                   count, json_array_size(*entries));
  sb_status status = allocate((size_t)count, out);
  SB_THEN(parse_linears(path, *entries, out));
  if (status != SB_OK) sb_linears_free(out);
  return status;
}
