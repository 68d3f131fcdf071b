#include "model/config_source.h"

#include <string.h>

#include "io/json_python.h"

const json_t *sb_config_value(const sb_config_source *from, const char *key) {
  const json_t *value = json_object_get(from->object, key);
  return json_is_null(value) ? NULL : value;
}

const char *sb_config_type_name(const json_t *value) {
  static const char *const names[] = {"an object", "an array", "a string", "an integer",
                                      "a number",  "true",     "false",    "null"};
  const char *odd = sb_json_python_oddity(value);
  return odd ? odd : names[json_typeof(value)];
}

static sb_status missing(const sb_config_source *from, const char *key) {
  return sb_fail(SB_ERR_FORMAT, "%s: %s%s is missing", from->path, from->prefix, key);
}

/* *out stays as it is when the key is missing and `required` is false. */
sb_status sb_config_count(const sb_config_source *from, const char *key, bool required,
                          const sb_limit *limit, size_t *out) {
  const json_t *value = sb_config_value(from, key);
  const size_t low = (size_t)limit->least, high = (size_t)limit->most;
  if (!value) return required ? missing(from, key) : SB_OK;
  if (!json_is_integer(value))
    return sb_fail(SB_ERR_FORMAT, "%s: %s%s must be an integer from %zu to %zu, not %s", from->path,
                   from->prefix, key, low, high, sb_config_type_name(value));
  json_int_t number = json_integer_value(value);
  if (number < (json_int_t)low || number > (json_int_t)high)
    return sb_fail(SB_ERR_FORMAT, "%s: %s%s is %" JSON_INTEGER_FORMAT "; it must lie in %zu..%zu",
                   from->path, from->prefix, key, number, low, high);
  *out = (size_t)number;
  return SB_OK;
}

sb_status sb_config_real(const sb_config_source *from, const char *key, bool required, double low,
                         double high, double *out) {
  const json_t *value = sb_config_value(from, key);
  if (!value) return required ? missing(from, key) : SB_OK;
  if (!json_is_number(value))
    return sb_fail(SB_ERR_FORMAT, "%s: %s%s must be a number from %g to %g, not %s", from->path,
                   from->prefix, key, low, high, sb_config_type_name(value));
  double number = json_number_value(value);
  if (!(number >= low && number <= high))
    return sb_fail(SB_ERR_FORMAT, "%s: %s%s is %g; it must lie in %g..%g", from->path, from->prefix,
                   key, number, low, high);
  *out = number;
  return SB_OK;
}

sb_status sb_config_flag(const sb_config_source *from, const char *key, bool *out) {
  const json_t *value = sb_config_value(from, key);
  if (!value) return SB_OK;
  if (!json_is_boolean(value))
    return sb_fail(SB_ERR_FORMAT, "%s: %s%s must be true or false, not %s", from->path,
                   from->prefix, key, sb_config_type_name(value));
  *out = json_is_true(value);
  return SB_OK;
}

sb_status sb_config_text(const sb_config_source *from, const char *key, const char **out) {
  const json_t *value = sb_config_value(from, key);
  if (!value) return SB_OK;
  if (!json_is_string(value))
    return sb_fail(SB_ERR_FORMAT, "%s: %s%s must be a string, not %s", from->path, from->prefix,
                   key, sb_config_type_name(value));
  *out = json_string_value(value);
  return SB_OK;
}

sb_status sb_config_require_silu(const sb_config_source *from) {
  const char *act = "silu";
  SB_TRY(sb_config_text(from, "hidden_act", &act));
  if (strcmp(act, "silu") != 0 && strcmp(act, "swish") != 0)
    return sb_fail(SB_ERR_UNSUPPORTED, "%s: hidden_act is \"%.32s\"; only \"silu\" is supported",
                   from->path, act);
  return SB_OK;
}
