#include "io/atomic.h"
#include "io/json.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "io/file.h"

sb_status sb_json_parse(const char *path, const char *text, size_t bytes, json_t **out) {
  json_error_t error;
  *out = json_loadb(text, bytes, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
  if (!*out) {
    if (json_error_code(&error) == json_error_duplicate_key)
      return sb_fail(
          SB_ERR_FORMAT,
          "%s: the JSON has a duplicated key (%s at line %d, column %d); write the file again",
          path, error.text, error.line, error.column);
    return sb_fail(
        SB_ERR_FORMAT,
        "%s: is not valid JSON (%s at line %d, column %d); is it whole, and the right file?", path,
        error.text, error.line, error.column);
  }
  return sb_json_require_object(path, out);
}

sb_status sb_json_require_object(const char *path, json_t **value) {
  if (json_is_object(*value)) return SB_OK;
  json_decref(*value);
  *value = NULL;
  return sb_fail(SB_ERR_FORMAT, "%s: is JSON but not an object {...}", path);
}

sb_status sb_json_read_by(sb_json_parser *parse, const char *path, json_t **out) {
  char *text = NULL;
  size_t bytes;
  *out = NULL;
  SB_TRY(sb_file_read_all(path, (size_t)1 << 30, &text, &bytes));
  const sb_status status = parse(path, text, bytes, out);
  sb_free(&text);
  return status;
}

static sb_status parse_own(const char *path, char *text, size_t bytes, json_t **out) {
  return sb_json_parse(path, text, bytes, out);
}

sb_status sb_json_read(const char *path, json_t **out) {
  return sb_json_read_by(parse_own, path, out);
}

sb_status sb_json_write(const char *path, const json_t *value) {
  char *text = json_dumps(value, JSON_INDENT(2) | JSON_ENCODE_ANY);
  if (!text) return sb_fail(SB_ERR_INTERNAL, "%s: a value to be written is not JSON", path);
  size_t length = strlen(text);
  text[length] = '\n'; /* in the place of the NUL */
  sb_status status = sb_file_write_atomic(path, text, length + 1);
  free(text);
  return status;
}

static sb_status wrong(const char *path, const char *where, const json_t *value, const char *key,
                       const char *wanted) {
  const char *colon = *where ? ": " : "";
  if (!value)
    return sb_fail(SB_ERR_FORMAT, "%s%s%s: \"%s\" (%s) is missing", path, colon, where, key,
                   wanted);
  return sb_fail(SB_ERR_FORMAT, "%s%s%s: \"%s\" is not %s", path, colon, where, key, wanted);
}

sb_status sb_json_get_u64(const char *path, const char *where, const json_t *object,
                          const char *key, uint64_t max, uint64_t *out) {
  const json_t *value = json_object_get(object, key);
  if (!json_is_integer(value)) return wrong(path, where, value, key, "an integer");
  json_int_t number = json_integer_value(value);
  if (number < 0 || (uint64_t)number > max)
    return sb_fail(SB_ERR_FORMAT, "%s%s%s: \"%s\" is %lld; it must lie in 0..%llu", path,
                   *where ? ": " : "", where, key, (long long)number, (unsigned long long)max);
  *out = (uint64_t)number;
  return SB_OK;
}

sb_status sb_json_get_real(const char *path, const char *where, const json_t *object,
                           const char *key, double *out) {
  const json_t *value = json_object_get(object, key);
  if (!json_is_number(value)) return wrong(path, where, value, key, "a number");
  *out = json_number_value(value);
  return SB_OK;
}

sb_status sb_json_get_string(const char *path, const char *where, const json_t *object,
                             const char *key, const char **out) {
  const json_t *value = json_object_get(object, key);
  if (!json_is_string(value)) return wrong(path, where, value, key, "a string");
  *out = json_string_value(value);
  return SB_OK;
}

sb_status sb_json_get_array(const char *path, const char *where, const json_t *object,
                            const char *key, json_t **out) {
  json_t *value = json_object_get(object, key);
  if (!json_is_array(value)) return wrong(path, where, value, key, "an array");
  *out = value;
  return SB_OK;
}

sb_status sb_json_get_object(const char *path, const char *where, const json_t *object,
                             const char *key, json_t **out) {
  json_t *value = json_object_get(object, key);
  if (!json_is_object(value)) return wrong(path, where, value, key, "an object");
  *out = value;
  return SB_OK;
}
