#include "model/config_read.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "io/json_python.h"
#include "model/config_source.h"
#include "model/family.h"
#include "model/rope_config.h"

static const char tie_key[] = "tie_word_embeddings", attention_bias_key[] = "attention_bias",
                  mlp_bias_key[] = "mlp_bias";

/* "A, B and C (without ...)" of all families. */
static void list_families(char *text, size_t size) {
  size_t n = 0;
  text[0] = 0;
  for (size_t i = 0; sb_families[i] && n < size; i++) {
    const sb_family *f = sb_families[i];
    const char *before = i == 0 ? "" : sb_families[i + 1] ? ", " : " and ";
    n += (size_t)snprintf(text + n, size - n, "%s%s%s%s%s", before, f->architecture,
                          f->limits ? " (" : "", f->limits ? f->limits : "", f->limits ? ")" : "");
  }
}

/* By architectures, or by model_type where there are none: older files, and base models. Where both
 * are given they mean one family: loaders go by one or the other. */
static sb_status find_family(const sb_config_source *from, const sb_family **out) {
  const json_t *list = sb_config_value(from, "architectures");
  const char *name = NULL, *type = NULL;
  char all[512];
  SB_TRY(sb_config_text(from, "model_type", &type));
  if (json_is_array(list) && json_array_size(list) == 1)
    name = json_string_value(json_array_get(list, 0));
  else if (!list || (json_is_array(list) && json_array_size(list) == 0))
    name = type;
  if (!name)
    return sb_fail(SB_ERR_FORMAT, "%s: architectures must be a list of one name", from->path);
  *out = name == type ? sb_family_of_type(type) : sb_family_find(name);
  if (!*out) {
    list_families(all, sizeof all);
    return sb_fail(SB_ERR_UNSUPPORTED, "%s: architecture %.64s is not supported; supported are %s",
                   from->path, name, all);
  }
  if (!type || strcmp((*out)->model_type, type) == 0) return SB_OK;
  return sb_fail(
      SB_ERR_FORMAT,
      "%s: architectures says %.64s, but model_type says %.64s (not %s); correct the one "
      "that is wrong",
      from->path, name, type, (*out)->model_type);
}

static sb_status read_family(const sb_config_source *from, sb_config *out,
                             const sb_family **family) {
  SB_TRY(find_family(from, family));
  snprintf(out->architecture, sizeof out->architecture, "%s", (*family)->architecture);
  snprintf(out->function, sizeof out->function, "%s", (*family)->function);
  return (*family)->check(from, out);
}

static sb_status refuse_quantized(const sb_config_source *from) {
  const json_t *quantization = sb_config_value(from, "quantization_config");
  if (!quantization) return SB_OK;
  const char *method = json_string_value(json_object_get(quantization, "quant_method"));
  const bool exl3 = method && strcmp(method, "exl3") == 0;
  return sb_fail(SB_ERR_UNSUPPORTED,
                 "%s: quantization_config says that this model is quantized already%s%.64s%s; give "
                 "the original model%s",
                 from->path, method ? " (" : "", method ? method : "", method ? ")" : "",
                 exl3 ? ", or decode it with tools/exl3_to_hf.py" : "");
}

/* The name of a type without the "torch." that some files put before it. */
static sb_status read_type_name(const sb_config_source *from, const char *key, const char **out) {
  *out = NULL;
  SB_TRY(sb_config_text(from, key, out));
  if (*out && strncmp(*out, "torch.", 6) == 0) *out += 6;
  return SB_OK;
}

static sb_status read_dtype(const sb_config_source *from, sb_config *out) {
  static const struct {
    const char *name;
    sb_dtype dtype;
  } names[] = {{"bfloat16", SB_BF16}, {"float16", SB_F16}, {"float32", SB_F32}};
  const char *name, *old;
  SB_TRY(read_type_name(from, "dtype", &name));
  SB_TRY(read_type_name(from, "torch_dtype", &old));
  if (name && old && strcmp(name, old) != 0)
    return sb_fail(SB_ERR_FORMAT,
                   "%s: dtype is \"%.32s\", but torch_dtype is \"%.32s\"; remove the one that is "
                   "wrong",
                   from->path, name, old);
  if (!name) name = old;
  out->has_dtype = false;
  out->dtype = SB_BF16;
  for (int i = 0; name && i < 3; i++)
    if (strcmp(name, names[i].name) == 0) {
      out->has_dtype = true;
      out->dtype = names[i].dtype;
    }
  return SB_OK;
}

static sb_status read_shape(const sb_config_source *from, const sb_family *family, sb_config *out) {
  SB_TRY(sb_config_count(from, "vocab_size", true, &sb_limit_vocab, &out->vocab));
  SB_TRY(sb_config_count(from, "hidden_size", true, &sb_limit_hidden, &out->hidden));
  SB_TRY(
      sb_config_count(from, "intermediate_size", true, &sb_limit_intermediate, &out->intermediate));
  SB_TRY(sb_config_count(from, "num_hidden_layers", true, &sb_limit_layers, &out->layers));
  SB_TRY(sb_config_count(from, "num_attention_heads", true, &sb_limit_heads, &out->heads));
  out->kv_heads = out->heads;
  SB_TRY(sb_config_count(from, "num_key_value_heads", family->needs_kv_heads, &sb_limit_heads,
                         &out->kv_heads));
  if (out->heads % out->kv_heads != 0)
    return sb_fail(SB_ERR_FORMAT,
                   "%s: num_attention_heads (%zu) is not a multiple of num_key_value_heads (%zu)",
                   from->path, out->heads, out->kv_heads);
  out->head_dim = 0;
  SB_TRY(sb_config_count(from, "head_dim", false, &sb_limit_head_dim, &out->head_dim));
  if (out->head_dim == 0) {
    out->head_dim = out->hidden / out->heads;
    if (out->hidden % out->heads != 0)
      return sb_fail(
          SB_ERR_FORMAT,
          "%s: hidden_size (%zu) is not a multiple of num_attention_heads (%zu), and head_dim is "
          "not given",
          from->path, out->hidden, out->heads);
  }
  if (out->head_dim % 2 != 0 || !sb_limit_allows(&sb_limit_head_dim, out->head_dim))
    return sb_fail(SB_ERR_FORMAT, "%s: head_dim is %zu; it must be even and at most %zu",
                   from->path, out->head_dim, (size_t)sb_limit_head_dim.most);
  out->max_positions = family->positions;
  return sb_config_count(from, "max_position_embeddings", false, &sb_limit_positions,
                         &out->max_positions);
}

sb_status sb_config_parse_stored(const json_t *object, const char *path, sb_config *out) {
  memset(out, 0, sizeof *out);
  sb_config_source from = {object, path, ""};
  if (!json_is_object(object)) return sb_fail(SB_ERR_FORMAT, "%s: not a JSON object", path);
  const sb_family *family;
  SB_TRY(read_family(&from, out, &family));
  SB_TRY(refuse_quantized(&from));
  SB_TRY(read_shape(&from, family, out));
  out->rms_eps = 1e-6;
  SB_TRY(sb_config_real(&from, "rms_norm_eps", false, 0.0, 0.1, &out->rms_eps));
  SB_TRY(sb_config_rope(&from, out));
  SB_TRY(sb_config_flag(&from, tie_key, &out->tie_embeddings));
  SB_TRY(sb_config_flag(&from, attention_bias_key, &out->attention_bias));
  SB_TRY(sb_config_flag(&from, mlp_bias_key, &out->mlp_bias));
  const json_t *dropout = sb_config_value(&from, "attention_dropout");
  out->dropout = json_is_number(dropout) ? json_number_value(dropout) : 0;
  return read_dtype(&from, out);
}

static sb_status refuse_biases(const sb_config *c, const char *path) {
  if (!c->attention_bias && !c->mlp_bias) return SB_OK;
  return sb_fail(SB_ERR_UNSUPPORTED,
                 "%s: %s is true; only linear layers without bias are supported, or with biases of "
                 "zero",
                 path, c->attention_bias ? attention_bias_key : mlp_bias_key);
}

sb_status sb_config_parse(const json_t *object, const char *path, sb_config *out) {
  SB_TRY(sb_config_parse_stored(object, path, out));
  return refuse_biases(out, path);
}

static void restate_flag(json_t *object, const char *key, bool value) {
  if (json_is_true(json_object_get(object, key)) != value)
    json_object_set_new(object, key, json_boolean(value));
}

void sb_config_restate(json_t *object, const sb_config *config) {
  sb_json_python_settle(object);
  restate_flag(object, tie_key, config->tie_embeddings);
  restate_flag(object, attention_bias_key, false);
  restate_flag(object, mlp_bias_key, false);
}

/* config.json of a folder, or the file itself. */
static sb_status file_of(const char *path, char *file, size_t size) {
  struct stat info;
  bool folder = stat(path, &info) == 0 && S_ISDIR(info.st_mode);
  if (snprintf(file, size, folder ? "%s/config.json" : "%s", path) >= (int)size)
    return sb_fail(SB_ERR_IO, "%.64s...: the path is too long", path);
  return SB_OK;
}

typedef sb_status parser(const json_t *object, const char *path, sb_config *out);

static sb_status read_json(const char *path, parser *parse, json_t **object, sb_config *out) {
  char file[4096];
  *object = NULL;
  SB_TRY(file_of(path, file, sizeof file));
  SB_TRY(sb_json_python_read(file, object));
  sb_status status = parse(*object, file, out);
  if (status != SB_OK) {
    json_decref(*object);
    *object = NULL;
  }
  return status;
}

sb_status sb_config_read_json(const char *path, json_t **object, sb_config *out) {
  return read_json(path, sb_config_parse, object, out);
}

sb_status sb_config_read(const char *path, sb_config *out) {
  json_t *object;
  SB_TRY(read_json(path, sb_config_parse, &object, out));
  json_decref(object);
  return SB_OK;
}

sb_status sb_config_read_stored(const char *path, sb_config *out) {
  json_t *object;
  SB_TRY(read_json(path, sb_config_parse_stored, &object, out));
  json_decref(object);
  return SB_OK;
}
