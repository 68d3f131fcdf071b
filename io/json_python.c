#include "io/json_python.h"

#include <math.h>
#include <stdbool.h>

#include "io/json.h"
#include "io/json_scan.h"

/* Keys of oddities. No text holds them, because they are not UTF-8. */
static const char what_key[] = "\xff", last_key[] = "\xfe";

static json_t *odd(const char *what, json_t *last) {
  json_t *value = json_object();
  json_object_set_new_nocheck(value, what_key, json_string(what));
  if (last) json_object_set_new_nocheck(value, last_key, last);
  return value;
}

const char *sb_json_python_oddity(const json_t *value) {
  return json_string_value(json_object_get(value, what_key));
}

static json_t *number(double real) {
  if (isnan(real)) return odd("NaN", NULL);
  if (isinf(real)) return odd(real < 0 ? "-Infinity" : "Infinity", NULL);
  return json_real(real);
}

/* The last value counts, as in Python; a contradiction is remembered. */
static void set(json_t *object, const char *key, json_t *value) {
  const json_t *before = json_object_get(object, key);
  if (before && !json_equal(before, value))
    value = odd("given twice, with different values", value);
  json_object_set_new_nocheck(object, key, value);
}

static sb_status read_value(sb_json_scan *s, int depth, json_t **out);

static sb_status read_members(sb_json_scan *s, int depth, bool object, json_t *out) {
  bool first = true, more = true;
  const char *key = NULL;
  json_t *value;
  if (depth == SB_JSON_DEPTH) return sb_json_scan_wrong(s, "too many brackets inside each other");
  SB_TRY(sb_json_scan_enter(s, object ? '{' : '['));
  for (;;) {
    SB_TRY(sb_json_scan_next(s, object ? '}' : ']', &first, &more, &key));
    if (!more) return SB_OK;
    SB_TRY(read_value(s, depth + 1, &value));
    if (object)
      set(out, key, value);
    else
      json_array_append_new(out, value);
  }
}

static sb_status read_scalar(sb_json_scan *s, sb_json_kind kind, json_t **out) {
  const char *text;
  bool integer;
  int64_t whole = 0;
  double real = 0;
  if (kind == SB_JSON_STRING) {
    SB_TRY(sb_json_scan_string(s, &text));
    *out = json_string_nocheck(text);
  } else if (kind == SB_JSON_NUMBER) {
    SB_TRY(sb_json_scan_number(s, &integer, &whole, &real));
    *out = integer ? json_integer(whole) : number(real);
  } else {
    SB_TRY(sb_json_scan_word(s));
    *out = kind == SB_JSON_NULL ? json_null() : json_boolean(kind == SB_JSON_TRUE);
  }
  return SB_OK;
}

static sb_status read_value(sb_json_scan *s, int depth, json_t **out) {
  const sb_json_kind kind = sb_json_scan_kind(s);
  sb_status status = SB_OK;
  *out = NULL;
  if (kind == SB_JSON_OBJECT || kind == SB_JSON_ARRAY) {
    *out = kind == SB_JSON_OBJECT ? json_object() : json_array();
    if (*out) status = read_members(s, depth, kind == SB_JSON_OBJECT, *out);
  } else {
    status = read_scalar(s, kind, out);
  }
  if (status == SB_OK && !*out)
    status = sb_fail(SB_ERR_MEMORY, "%s: not enough memory to read it", s->path);
  if (status != SB_OK) {
    json_decref(*out);
    *out = NULL;
  }
  return status;
}

sb_status sb_json_python_parse(const char *path, char *text, size_t bytes, json_t **out) {
  sb_json_scan scan;
  *out = NULL;
  sb_json_scan_begin(&scan, path, "", text, bytes);
  SB_TRY(read_value(&scan, 0, out));
  sb_status status = sb_json_scan_end(&scan);
  SB_THEN(sb_json_require_object(path, out));
  if (status != SB_OK) {
    json_decref(*out);
    *out = NULL;
  }
  return status;
}

sb_status sb_json_python_read(const char *path, json_t **out) {
  return sb_json_read_by(sb_json_python_parse, path, out);
}

static void settle_members(json_t *object) {
  const char *key;
  json_t *value;
  void *next;
  json_object_foreach_safe(object, next, key, value) {
    json_t *last = NULL;
    if (sb_json_python_oddity(value)) {
      last = json_incref(json_object_get(value, last_key));
      if (last && !sb_json_python_oddity(last))
        json_object_set_new_nocheck(object, key, last);
      else {
        json_decref(last);
        json_object_del(object, key);
        continue;
      }
    }
    sb_json_python_settle(last ? last : value);
  }
}

void sb_json_python_settle(json_t *value) {
  if (json_is_object(value)) settle_members(value);
  for (size_t i = json_array_size(value); i-- > 0;) {
    json_t *item = json_array_get(value, i);
    if (sb_json_python_oddity(item))
      json_array_remove(value, i);
    else
      sb_json_python_settle(item);
  }
}
