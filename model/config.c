#include "model/config.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>

#include "io/json.h"

/* Where a value comes from, for messages: "models/x/config.json: rope_scaling.factor". */
typedef struct source {
  const json_t *object;
  const char *path;
  const char *prefix; /* "" or "rope_scaling." */
} source;

/* A key that is null counts as missing, as in Hugging Face's own reader. */
static const json_t *value_of(const source *from, const char *key) {
  const json_t *value = json_object_get(from->object, key);
  return json_is_null(value) ? NULL : value;
}

static const char *type_of(const json_t *value) {
  static const char *const names[] = {"an object", "an array", "a string", "an integer",
                                      "a number",  "true",     "false",    "null"};
  return names[json_typeof(value)];
}

static sb_status missing(const source *from, const char *key) {
  return sb_fail(SB_ERR_FORMAT, "%s: %s%s is missing", from->path, from->prefix, key);
}

/* *out stays as it is when the key is missing and `required` is false. */
static sb_status read_count(const source *from, const char *key, bool required, size_t low,
                            size_t high, size_t *out) {
  const json_t *value = value_of(from, key);
  if (!value) return required ? missing(from, key) : SB_OK;
  if (!json_is_integer(value))
    return sb_fail(SB_ERR_FORMAT, "%s: %s%s must be an integer from %zu to %zu, not %s", from->path,
                   from->prefix, key, low, high, type_of(value));
  json_int_t number = json_integer_value(value);
  if (number < (json_int_t)low || number > (json_int_t)high)
    return sb_fail(SB_ERR_FORMAT, "%s: %s%s is %" JSON_INTEGER_FORMAT "; it must lie in %zu..%zu",
                   from->path, from->prefix, key, number, low, high);
  *out = (size_t)number;
  return SB_OK;
}

static sb_status read_real(const source *from, const char *key, bool required, double low,
                           double high, double *out) {
  const json_t *value = value_of(from, key);
  if (!value) return required ? missing(from, key) : SB_OK;
  if (!json_is_number(value))
    return sb_fail(SB_ERR_FORMAT, "%s: %s%s must be a number from %g to %g, not %s", from->path,
                   from->prefix, key, low, high, type_of(value));
  double number = json_number_value(value);
  if (!(number >= low && number <= high))
    return sb_fail(SB_ERR_FORMAT, "%s: %s%s is %g; it must lie in %g..%g", from->path, from->prefix,
                   key, number, low, high);
  *out = number;
  return SB_OK;
}

static sb_status read_flag(const source *from, const char *key, bool *out) {
  const json_t *value = value_of(from, key);
  if (!value) return SB_OK;
  if (!json_is_boolean(value))
    return sb_fail(SB_ERR_FORMAT, "%s: %s%s must be true or false, not %s", from->path,
                   from->prefix, key, type_of(value));
  *out = json_is_true(value);
  return SB_OK;
}

static sb_status read_text(const source *from, const char *key, const char **out) {
  const json_t *value = value_of(from, key);
  if (!value) return SB_OK;
  if (!json_is_string(value))
    return sb_fail(SB_ERR_FORMAT, "%s: %s%s must be a string, not %s", from->path, from->prefix,
                   key, type_of(value));
  *out = json_string_value(value);
  return SB_OK;
}

/* A token id, or the first of a list of them. */
static sb_status read_token(const source *from, const char *key, size_t vocab, int64_t *out) {
  const json_t *value = value_of(from, key);
  *out = -1;
  if (json_is_array(value) && json_array_size(value) > 0) value = json_array_get(value, 0);
  if (!value) return SB_OK;
  if (!json_is_integer(value))
    return sb_fail(SB_ERR_FORMAT, "%s: %s must be a token id or a list of them, not %s", from->path,
                   key, type_of(value));
  json_int_t id = json_integer_value(value);
  if (id >= (json_int_t)vocab)
    return sb_fail(SB_ERR_FORMAT, "%s: %s is %" JSON_INTEGER_FORMAT ", but vocab_size is %zu",
                   from->path, key, id, vocab);
  *out = id < 0 ? -1 : (int64_t)id;
  return SB_OK;
}

static sb_status read_architecture(const source *from, sb_config *out) {
  const json_t *list = value_of(from, "architectures");
  const char *name = NULL, *type = NULL;
  if (json_is_array(list) && json_array_size(list) == 1) {
    name = json_string_value(json_array_get(list, 0));
  } else if (!list) { /* older files name only the type */
    SB_TRY(read_text(from, "model_type", &type));
    name = !type ? NULL : strcmp(type, "llama") == 0 ? "LlamaForCausalLM" : type;
  }
  if (!name)
    return sb_fail(SB_ERR_FORMAT, "%s: architectures must be a list of one name", from->path);
  if (strcmp(name, "LlamaForCausalLM") != 0 && strcmp(name, "MistralForCausalLM") != 0)
    return sb_fail(SB_ERR_UNSUPPORTED,
                   "%s: architecture %.64s is not supported; supported are LlamaForCausalLM and "
                   "MistralForCausalLM "
                   "(without sliding window)",
                   from->path, name);
  snprintf(out->architecture, sizeof out->architecture, "%s", name);
  return SB_OK;
}

/* Values that would change what the network computes. */
static sb_status refuse_variants(const source *from, bool mistral) {
  static const char *const biases[] = {"attention_bias", "mlp_bias"};
  for (int i = 0; i < 2; i++) {
    bool bias = false;
    SB_TRY(read_flag(from, biases[i], &bias));
    if (bias)
      return sb_fail(SB_ERR_UNSUPPORTED,
                     "%s: %s is true; only linear layers without bias are supported", from->path,
                     biases[i]);
  }
  const char *act = "silu";
  SB_TRY(read_text(from, "hidden_act", &act));
  if (strcmp(act, "silu") != 0 && strcmp(act, "swish") != 0)
    return sb_fail(SB_ERR_UNSUPPORTED, "%s: hidden_act is \"%.32s\"; only \"silu\" is supported",
                   from->path, act);
  if (value_of(from, "quantization_config"))
    return sb_fail(SB_ERR_UNSUPPORTED,
                   "%s: quantization_config says that this model is quantized already; give the "
                   "original model",
                   from->path);
  /* Mistral's default for a missing sliding_window is a window of 4096 tokens, so the null must be
   * written.
   */
  if (mistral && !json_is_null(json_object_get(from->object, "sliding_window")))
    return sb_fail(SB_ERR_UNSUPPORTED,
                   "%s: sliding_window must be null: sliding-window attention is not supported",
                   from->path);
  return SB_OK;
}

static sb_status read_rope_kind(const source *from, sb_config *out) {
  const char *type = NULL, *old = NULL;
  SB_TRY(read_text(from, "rope_type", &type));
  SB_TRY(read_text(from, "type", &old));
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
  SB_TRY(read_real(from, "factor", true, 1.0, 1e6, &out->rope_factor));
  out->rope_kind = SB_ROPE_LINEAR;
  if (strcmp(type, "linear") == 0) return SB_OK;
  out->rope_kind = SB_ROPE_LLAMA3;
  SB_TRY(read_real(from, "low_freq_factor", true, 1e-6, 1e6, &out->rope_low_factor));
  SB_TRY(read_real(from, "high_freq_factor", true, 1e-6, 1e6, &out->rope_high_factor));
  SB_TRY(read_real(from, "original_max_position_embeddings", true, 1.0, 1e9,
                   &out->rope_original_positions));
  if (out->rope_high_factor <= out->rope_low_factor)
    return sb_fail(SB_ERR_FORMAT, "%s: %shigh_freq_factor (%g) must exceed low_freq_factor (%g)",
                   from->path, from->prefix, out->rope_high_factor, out->rope_low_factor);
  return SB_OK;
}

static sb_status read_rope(const source *top, sb_config *out) {
  const json_t *scaling = value_of(top, "rope_scaling"),
               *parameters = value_of(top, "rope_parameters");
  out->rope_kind = SB_ROPE_DEFAULT;
  out->rope_theta = 1e4; /* what Hugging Face assumes: Llama 1 and 2 do not say */
  double theta = 0.0, partial = 1.0;
  SB_TRY(read_real(top, "rope_theta", false, 1.0, 1e15, &theta));
  SB_TRY(read_real(top, "partial_rotary_factor", false, 0.0, 1.0, &partial));
  if (theta > 0.0) out->rope_theta = theta;
  if (scaling && parameters && !json_equal(scaling, parameters))
    return sb_fail(SB_ERR_FORMAT, "%s: rope_scaling and rope_parameters are both given and differ",
                   top->path);
  const json_t *object = parameters ? parameters : scaling;
  if (object) {
    source from = {object, top->path, parameters ? "rope_parameters." : "rope_scaling."};
    if (!json_is_object(object))
      return sb_fail(SB_ERR_FORMAT, "%s: %.*s must be an object, not %s", top->path,
                     (int)strlen(from.prefix) - 1, from.prefix, type_of(object));
    double inner = 0.0;
    SB_TRY(read_rope_kind(&from, out));
    SB_TRY(read_real(&from, "rope_theta", false, 1.0, 1e15, &inner));
    SB_TRY(read_real(&from, "partial_rotary_factor", false, 0.0, 1.0, &partial));
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

static sb_status read_dtype(const source *from, sb_config *out) {
  static const struct {
    const char *name;
    sb_dtype dtype;
  } names[] = {{"bfloat16", SB_BF16}, {"float16", SB_F16}, {"float32", SB_F32}};
  const char *name = NULL;
  SB_TRY(read_text(from, "torch_dtype", &name));
  if (!name) SB_TRY(read_text(from, "dtype", &name));
  out->has_dtype = false;
  out->dtype = SB_BF16;
  for (int i = 0; name && i < 3; i++)
    if (strcmp(name, names[i].name) == 0) {
      out->has_dtype = true;
      out->dtype = names[i].dtype;
    }
  return SB_OK;
}

static sb_status read_shape(const source *from, bool mistral, sb_config *out) {
  SB_TRY(read_count(from, "vocab_size", true, 2, (size_t)1 << 24, &out->vocab));
  SB_TRY(read_count(from, "hidden_size", true, 1, (size_t)1 << 20, &out->hidden));
  SB_TRY(read_count(from, "intermediate_size", true, 1, (size_t)1 << 22, &out->intermediate));
  SB_TRY(read_count(from, "num_hidden_layers", true, 1, 4096, &out->layers));
  SB_TRY(read_count(from, "num_attention_heads", true, 1, (size_t)1 << 14, &out->heads));
  out->kv_heads = out->heads;
  SB_TRY(read_count(from, "num_key_value_heads", mistral, 1, (size_t)1 << 14, &out->kv_heads));
  if (out->heads % out->kv_heads != 0)
    return sb_fail(SB_ERR_FORMAT,
                   "%s: num_attention_heads (%zu) is not a multiple of num_key_value_heads (%zu)",
                   from->path, out->heads, out->kv_heads);
  out->head_dim = 0;
  SB_TRY(read_count(from, "head_dim", false, 2, 1024, &out->head_dim));
  if (out->head_dim == 0) {
    out->head_dim = out->hidden / out->heads;
    if (out->hidden % out->heads != 0)
      return sb_fail(
          SB_ERR_FORMAT,
          "%s: hidden_size (%zu) is not a multiple of num_attention_heads (%zu), and head_dim is "
          "not given",
          from->path, out->hidden, out->heads);
  }
  if (out->head_dim % 2 != 0 || out->head_dim > 1024)
    return sb_fail(SB_ERR_FORMAT, "%s: head_dim is %zu; it must be even and at most 1024",
                   from->path, out->head_dim);
  out->max_positions = 2048;
  return read_count(from, "max_position_embeddings", false, 1, (size_t)1 << 31,
                    &out->max_positions);
}

sb_status sb_config_parse(const json_t *object, const char *path, sb_config *out) {
  memset(out, 0, sizeof *out);
  source from = {object, path, ""};
  if (!json_is_object(object)) return sb_fail(SB_ERR_FORMAT, "%s: not a JSON object", path);
  SB_TRY(read_architecture(&from, out));
  bool mistral = strcmp(out->architecture, "MistralForCausalLM") == 0;
  SB_TRY(refuse_variants(&from, mistral));
  SB_TRY(read_shape(&from, mistral, out));
  out->rms_eps = 1e-6;
  SB_TRY(read_real(&from, "rms_norm_eps", false, 0.0, 0.1, &out->rms_eps));
  SB_TRY(read_rope(&from, out));
  SB_TRY(read_flag(&from, "tie_word_embeddings", &out->tie_embeddings));
  SB_TRY(read_token(&from, "bos_token_id", out->vocab, &out->bos));
  SB_TRY(read_token(&from, "eos_token_id", out->vocab, &out->eos));
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

uint64_t sb_config_fingerprint(const sb_config *c) {
  char text[512];
  int n = snprintf(text, sizeof text, "llama %zu %zu %zu %zu %zu %zu %zu %d %a %a %d", c->vocab,
                   c->hidden, c->intermediate, c->layers, c->heads, c->kv_heads, c->head_dim,
                   (int)c->tie_embeddings, c->rms_eps, c->rope_theta, (int)c->rope_kind);
  if (c->rope_kind != SB_ROPE_DEFAULT)
    n += snprintf(text + n, sizeof text - (size_t)n, " %a %a %a %a", c->rope_factor,
                  c->rope_low_factor, c->rope_high_factor, c->rope_original_positions);
  return XXH3_64bits(text, (size_t)n);
}
