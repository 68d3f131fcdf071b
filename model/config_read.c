#include "model/config_read.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "io/json.h"
#include "model/config_source.h"
#include "model/family.h"

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

/* Older files name only the type of the model: the architecture that it stands for, or itself. */
static const char *architecture_of_type(const char *type) {
  for (size_t i = 0; type && sb_families[i]; i++)
    if (sb_families[i]->model_type && strcmp(sb_families[i]->model_type, type) == 0)
      return sb_families[i]->architecture;
  return type;
}

static sb_status read_family(const sb_config_source *from, sb_config *out,
                             const sb_family **family) {
  const json_t *list = sb_config_value(from, "architectures");
  const char *name = NULL, *type = NULL;
  char all[512];
  if (json_is_array(list) && json_array_size(list) == 1) {
    name = json_string_value(json_array_get(list, 0));
  } else if (!list) {
    SB_TRY(sb_config_text(from, "model_type", &type));
    name = architecture_of_type(type);
  }
  if (!name)
    return sb_fail(SB_ERR_FORMAT, "%s: architectures must be a list of one name", from->path);
  *family = sb_family_find(name);
  if (!*family) {
    list_families(all, sizeof all);
    return sb_fail(SB_ERR_UNSUPPORTED, "%s: architecture %.64s is not supported; supported are %s",
                   from->path, name, all);
  }
  snprintf(out->architecture, sizeof out->architecture, "%s", name);
  snprintf(out->function, sizeof out->function, "%s", (*family)->function);
  return (*family)->check(from);
}

static sb_status refuse_quantized(const sb_config_source *from) {
  if (!sb_config_value(from, "quantization_config")) return SB_OK;
  return sb_fail(SB_ERR_UNSUPPORTED,
                 "%s: quantization_config says that this model is quantized already; give the "
                 "original model",
                 from->path);
}

static sb_status read_rope_kind(const sb_config_source *from, sb_config *out) {
  const char *type = NULL, *old = NULL;
  SB_TRY(sb_config_text(from, "rope_type", &type));
  SB_TRY(sb_config_text(from, "type", &old));
  if (!type) type = old ? old : "default";
  if (strcmp(type, "default") == 0) {
    out->rope_kind = SB_ROPE_DEFAULT;
    return SB_OK;
  }
  if (strcmp(type, "linear") != 0 && strcmp(type, "llama3") != 0)
    return sb_fail(
        SB_ERR_UNSUPPORTED,
        "%s: %srope_type \"%.32s\" is not supported; supported are default, linear and llama3",
        from->path, from->prefix, type);
  SB_TRY(sb_config_real(from, "factor", true, 1.0, 1e6, &out->rope_factor));
  out->rope_kind = SB_ROPE_LINEAR;
  if (strcmp(type, "linear") == 0) return SB_OK;
  out->rope_kind = SB_ROPE_LLAMA3;
  SB_TRY(sb_config_real(from, "low_freq_factor", true, 1e-6, 1e6, &out->rope_low_factor));
  SB_TRY(sb_config_real(from, "high_freq_factor", true, 1e-6, 1e6, &out->rope_high_factor));
  SB_TRY(sb_config_real(from, "original_max_position_embeddings", true, 1.0, 1e9,
                        &out->rope_original_positions));
  if (out->rope_high_factor <= out->rope_low_factor)
    return sb_fail(SB_ERR_FORMAT, "%s: %shigh_freq_factor (%g) must exceed low_freq_factor (%g)",
                   from->path, from->prefix, out->rope_high_factor, out->rope_low_factor);
  return SB_OK;
}

static sb_status read_rope(const sb_config_source *top, sb_config *out) {
  const json_t *scaling = sb_config_value(top, "rope_scaling"),
               *parameters = sb_config_value(top, "rope_parameters");
  out->rope_kind = SB_ROPE_DEFAULT;
  out->rope_theta = 1e4; /* what Hugging Face assumes: Llama 1 and 2 do not say */
  double theta = 0.0, partial = 1.0;
  SB_TRY(sb_config_real(top, "rope_theta", false, 1.0, 1e15, &theta));
  SB_TRY(sb_config_real(top, "partial_rotary_factor", false, 0.0, 1.0, &partial));
  if (theta > 0.0) out->rope_theta = theta;
  if (scaling && parameters && !json_equal(scaling, parameters))
    return sb_fail(SB_ERR_FORMAT, "%s: rope_scaling and rope_parameters are both given and differ",
                   top->path);
  const json_t *object = parameters ? parameters : scaling;
  if (object) {
    sb_config_source from = {object, top->path, parameters ? "rope_parameters." : "rope_scaling."};
    if (!json_is_object(object))
      return sb_fail(SB_ERR_FORMAT, "%s: %.*s must be an object, not %s", top->path,
                     (int)strlen(from.prefix) - 1, from.prefix, sb_config_type_name(object));
    double inner = 0.0;
    SB_TRY(read_rope_kind(&from, out));
    SB_TRY(sb_config_real(&from, "rope_theta", false, 1.0, 1e15, &inner));
    SB_TRY(sb_config_real(&from, "partial_rotary_factor", false, 0.0, 1.0, &partial));
    if (inner > 0.0 && theta > 0.0 && inner != theta)
      return sb_fail(SB_ERR_FORMAT, "%s: rope_theta is %g at the top level and %g in %.*s",
                     top->path, theta, inner, (int)strlen(from.prefix) - 1, from.prefix);
    if (inner > 0.0) out->rope_theta = inner;
  }
  if (partial != 1.0)
    return sb_fail(SB_ERR_UNSUPPORTED, "%s: partial_rotary_factor is %g; only 1 is supported",
                   top->path, partial);
  return SB_OK;
}

static sb_status read_dtype(const sb_config_source *from, sb_config *out) {
  static const struct {
    const char *name;
    sb_dtype dtype;
  } names[] = {{"bfloat16", SB_BF16}, {"float16", SB_F16}, {"float32", SB_F32}};
  const char *name = NULL;
  SB_TRY(sb_config_text(from, "torch_dtype", &name));
  if (!name) SB_TRY(sb_config_text(from, "dtype", &name));
  out->has_dtype = false;
  out->dtype = SB_BF16;
  for (int i = 0; name && i < 3; i++)
    if (strcmp(name, names[i].name) == 0) {
      out->has_dtype = true;
      out->dtype = names[i].dtype;
    }
  return SB_OK;
}

static sb_status read_shape(const sb_config_source *from, bool needs_kv_heads, sb_config *out) {
  SB_TRY(sb_config_count(from, "vocab_size", true, &sb_limit_vocab, &out->vocab));
  SB_TRY(sb_config_count(from, "hidden_size", true, &sb_limit_hidden, &out->hidden));
  SB_TRY(
      sb_config_count(from, "intermediate_size", true, &sb_limit_intermediate, &out->intermediate));
  SB_TRY(sb_config_count(from, "num_hidden_layers", true, &sb_limit_layers, &out->layers));
  SB_TRY(sb_config_count(from, "num_attention_heads", true, &sb_limit_heads, &out->heads));
  out->kv_heads = out->heads;
  SB_TRY(sb_config_count(from, "num_key_value_heads", needs_kv_heads, &sb_limit_heads,
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
  out->max_positions = 2048;
  return sb_config_count(from, "max_position_embeddings", false, &sb_limit_positions,
                         &out->max_positions);
}

sb_status sb_config_parse(const json_t *object, const char *path, sb_config *out) {
  memset(out, 0, sizeof *out);
  sb_config_source from = {object, path, ""};
  if (!json_is_object(object)) return sb_fail(SB_ERR_FORMAT, "%s: not a JSON object", path);
  const sb_family *family;
  SB_TRY(read_family(&from, out, &family));
  SB_TRY(refuse_quantized(&from));
  SB_TRY(read_shape(&from, family->needs_kv_heads, out));
  out->rms_eps = 1e-6;
  SB_TRY(sb_config_real(&from, "rms_norm_eps", false, 0.0, 0.1, &out->rms_eps));
  SB_TRY(read_rope(&from, out));
  SB_TRY(sb_config_flag(&from, "tie_word_embeddings", &out->tie_embeddings));
  SB_TRY(sb_config_token(&from, "bos_token_id", out->vocab, &out->bos));
  SB_TRY(sb_config_token(&from, "eos_token_id", out->vocab, &out->eos));
  return read_dtype(&from, out);
}

/* config.json of a folder, or the file itself. */
static sb_status file_of(const char *path, char *file, size_t size) {
  struct stat info;
  bool folder = stat(path, &info) == 0 && S_ISDIR(info.st_mode);
  if (snprintf(file, size, folder ? "%s/config.json" : "%s", path) >= (int)size)
    return sb_fail(SB_ERR_IO, "%.64s...: the path is too long", path);
  return SB_OK;
}

sb_status sb_config_read_json(const char *path, json_t **object, sb_config *out) {
  char file[4096];
  SB_TRY(file_of(path, file, sizeof file));
  SB_TRY(sb_json_read(file, object));
  sb_status status = sb_config_parse(*object, file, out);
  if (status != SB_OK) {
    json_decref(*object);
    *object = NULL;
  }
  return status;
}

sb_status sb_config_read(const char *path, sb_config *out) {
  json_t *object = NULL;
  SB_TRY(sb_config_read_json(path, &object, out));
  json_decref(object);
  return SB_OK;
}
