#include "model/rope_config.h"

#include <math.h>
#include <string.h>

#include "io/json_python.h"

enum { TYPE_TEXT = 32 };

static int name_length(const sb_config_source *from) { /* of its prefix, without the point */
  return (int)strlen(from->prefix) - 1;
}

/* Older files say `type`. */
static sb_status read_type(const sb_config_source *from, const char **out) {
  const char *type = NULL, *old = NULL;
  SB_TRY(sb_config_text(from, "rope_type", &type));
  SB_TRY(sb_config_text(from, "type", &old));
  if (type && old && strcmp(type, old) != 0)
    return sb_fail(SB_ERR_FORMAT, "%s: %.*s has rope_type \"%.*s\", but type \"%.*s\"", from->path,
                   name_length(from), from->prefix, TYPE_TEXT, type, TYPE_TEXT, old);
  *out = type ? type : old ? old : "default";
  return SB_OK;
}

/* The context that was trained before it was stretched. */
static sb_status read_original(const sb_config_source *from, const sb_config_source *top,
                               sb_config *out) {
  static const char key[] = "original_max_position_embeddings";
  double inner = 0.0, outer = 0.0;
  SB_TRY(sb_config_real(from, key, false, 1.0, 1e9, &inner));
  SB_TRY(sb_config_real(top, key, false, 1.0, 1e9, &outer));
  if (inner > 0.0 && outer > 0.0 && inner != outer)
    return sb_fail(SB_ERR_FORMAT, "%s: %s is %g at the top level and %g in %.*s", top->path, key,
                   outer, inner, name_length(from), from->prefix);
  out->rope_original_positions = inner > 0.0   ? inner
                                 : outer > 0.0 ? outer
                                               : (double)out->max_positions;
  return SB_OK;
}

static sb_status read_llama3(const sb_config_source *from, const sb_config_source *top,
                             sb_config *out) {
  SB_TRY(sb_config_real(from, "factor", true, 1.0, 1e6, &out->rope_factor));
  SB_TRY(sb_config_real(from, "low_freq_factor", true, 1e-6, 1e6, &out->rope_low_factor));
  SB_TRY(sb_config_real(from, "high_freq_factor", true, 1e-6, 1e6, &out->rope_high_factor));
  SB_TRY(read_original(from, top, out));
  if (out->rope_high_factor <= out->rope_low_factor)
    return sb_fail(SB_ERR_FORMAT, "%s: %shigh_freq_factor (%g) must exceed low_freq_factor (%g)",
                   from->path, from->prefix, out->rope_high_factor, out->rope_low_factor);
  return SB_OK;
}

/* 0.1 scale ln(factor) + 1, by which YaRN lengthens queries and keys. */
static double yarn_scale(double factor, double scale) {
  return factor <= 1.0 ? 1.0 : 0.1 * scale * log(factor) + 1.0;
}

static sb_status read_yarn(const sb_config_source *from, const sb_config_source *top,
                           sb_config *out) {
  double scale = 0.0, scale_all = 0.0, attention = -1.0;
  const bool null = json_is_null(json_object_get(from->object, "factor"));
  out->rope_truncate = true;
  SB_TRY(read_original(from, top, out));
  out->rope_factor = (double)out->max_positions / out->rope_original_positions;
  SB_TRY(sb_config_real(from, "factor", !null, 1.0, 1e6, &out->rope_factor));
  out->rope_beta_fast = 32.0;
  out->rope_beta_slow = 1.0;
  SB_TRY(sb_config_real(from, "beta_fast", false, 1e-6, 1e6, &out->rope_beta_fast));
  SB_TRY(sb_config_real(from, "beta_slow", false, 1e-6, 1e6, &out->rope_beta_slow));
  SB_TRY(sb_config_real(from, "mscale", false, 0.0, 1e6, &scale));
  SB_TRY(sb_config_real(from, "mscale_all_dim", false, 0.0, 1e6, &scale_all));
  SB_TRY(sb_config_real(from, "attention_factor", false, 0.0, 1e6, &attention));
  SB_TRY(sb_config_flag(from, "truncate", &out->rope_truncate));
  if (attention >= 0.0)
    out->rope_attention = attention;
  else if (scale > 0.0 && scale_all > 0.0)
    out->rope_attention =
        yarn_scale(out->rope_factor, scale) / yarn_scale(out->rope_factor, scale_all);
  else
    out->rope_attention = yarn_scale(out->rope_factor, 1.0);
  return SB_OK;
}

static sb_status read_kind(const sb_config_source *from, const sb_config_source *top,
                           sb_config *out) {
  const char *type = NULL;
  SB_TRY(read_type(from, &type));
  if (strcmp(type, "default") == 0) return SB_OK;
  if (strcmp(type, "linear") == 0) {
    out->rope_kind = SB_ROPE_LINEAR;
    return sb_config_real(from, "factor", true, 1.0, 1e6, &out->rope_factor);
  }
  if (strcmp(type, "llama3") == 0) {
    out->rope_kind = SB_ROPE_LLAMA3;
    return read_llama3(from, top, out);
  }
  if (strcmp(type, "yarn") == 0) {
    out->rope_kind = SB_ROPE_YARN;
    return read_yarn(from, top, out);
  }
  if (strcmp(type, "dynamic") == 0) {
    double factor;
    SB_TRY(sb_config_real(from, "factor", true, 1.0, 1e6, &factor));
    sb_config_limit(out, out->max_positions, "dynamic RoPE");
    return SB_OK;
  }
  return sb_fail(SB_ERR_UNSUPPORTED,
                 "%s: %srope_type \"%.*s\" is not supported; supported are default, linear, "
                 "llama3, yarn and dynamic",
                 from->path, from->prefix, TYPE_TEXT, type);
}

/* One of the two objects; the top level completes it. */
static sb_status read_object(const sb_config_source *from, const sb_config_source *top,
                             sb_config *out) {
  double theta = 0.0, inner = 0.0, partial = 1.0, inner_partial = 1.0;
  SB_TRY(sb_config_real(top, "rope_theta", false, 1.0, 1e15, &theta));
  SB_TRY(sb_config_real(top, "partial_rotary_factor", false, 0.0, 1.0, &partial));
  if (from->object) {
    if (!json_is_object(from->object) || sb_json_python_oddity(from->object))
      return sb_fail(SB_ERR_FORMAT, "%s: %.*s must be an object, not %s", top->path,
                     name_length(from), from->prefix, sb_config_type_name(from->object));
    SB_TRY(sb_config_real(from, "rope_theta", false, 1.0, 1e15, &inner));
    SB_TRY(sb_config_real(from, "partial_rotary_factor", false, 0.0, 1.0, &inner_partial));
    if (inner > 0.0 && theta > 0.0 && inner != theta)
      return sb_fail(SB_ERR_FORMAT, "%s: rope_theta is %g at the top level and %g in %.*s",
                     top->path, theta, inner, name_length(from), from->prefix);
    SB_TRY(read_kind(from, top, out));
  }
  if (inner_partial != 1.0) partial = inner_partial;
  if (partial != 1.0)
    return sb_fail(SB_ERR_UNSUPPORTED, "%s: partial_rotary_factor is %g; only 1 is supported",
                   top->path, partial);
  out->rope_theta = inner > 0.0 ? inner : theta > 0.0 ? theta : 1e4;
  if (out->rope_kind == SB_ROPE_YARN && out->rope_theta <= 1.0)
    return sb_fail(SB_ERR_FORMAT, "%s: rope_theta is %g; with yarn it must exceed 1", top->path,
                   out->rope_theta);
  return SB_OK;
}

/* NULL where the key is missing, null or an object without members, as in Python's `or`. */
static const json_t *value_of(const sb_config_source *top, const char *key) {
  const json_t *value = sb_config_value(top, key);
  return json_is_object(value) && json_object_size(value) == 0 ? NULL : value;
}

sb_status sb_config_rope(const sb_config_source *top, sb_config *config) {
  const sb_config_source scaling = {value_of(top, "rope_scaling"), top->path, "rope_scaling."},
                         parameters = {value_of(top, "rope_parameters"), top->path,
                                       "rope_parameters."};
  sb_config other;
  memcpy(&other, config, sizeof other);
  SB_TRY(read_object(parameters.object ? &parameters : &scaling, top, config));
  if (!scaling.object || !parameters.object) return SB_OK;
  SB_TRY(read_object(&scaling, top, &other));
  if (memcmp(&other, config, sizeof other) == 0) return SB_OK;
  return sb_fail(SB_ERR_FORMAT,
                 "%s: rope_scaling and rope_parameters are both given and differ; remove the one "
                 "that is wrong",
                 top->path);
}
