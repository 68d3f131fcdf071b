#include "io/key.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

static void add(sb_key *key, sb_key_kind kind, const char *name, const char *meaning,
                const char *text) {
  if (key->count == SB_KEY_ENTRIES) return;
  key->entries[key->count].name = name;
  key->entries[key->count].meaning = meaning;
  key->entries[key->count].kind = kind;
  snprintf(key->entries[key->count++].text, SB_KEY_TEXT, "%s", text);
}

void sb_key_add(sb_key *key, const char *name, const char *meaning, const char *format, ...) {
  char text[SB_KEY_TEXT];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  add(key, SB_KEY_WORDS, name, meaning, text);
}

void sb_key_add_real(sb_key *key, const char *name, const char *meaning, double value) {
  char text[SB_TEXT_SIZE];
  add(key, SB_KEY_REAL, name, meaning, sb_text_real(text, sizeof text, value));
}

void sb_key_add_hash(sb_key *key, const char *name, const char *meaning, uint64_t hash) {
  char text[SB_TEXT_SIZE];
  snprintf(text, sizeof text, "%016" PRIx64, hash);
  add(key, SB_KEY_HASH, name, meaning, text);
}

json_t *sb_key_json(const sb_key *key) {
  json_t *object = json_object();
  for (size_t i = 0; i < key->count; i++)
    json_object_set_new(object, key->entries[i].name, json_string(key->entries[i].text));
  return object;
}

sb_status sb_key_begin(const json_t *root, const char *path, const char *format, int version,
                       const char *what, const char *advice) {
  const char *name = json_string_value(json_object_get(root, "format"));
  const json_t *number = json_object_get(root, "version");
  if (!name || strcmp(name, format) != 0 || !json_is_integer(number))
    return sb_fail(SB_ERR_FORMAT, "%s: not %s", path, what);
  if (json_integer_value(number) != version)
    return sb_fail(SB_ERR_UNSUPPORTED, "%s: version %lld, this program reads %d; %s", path,
                   (long long)json_integer_value(number), version, advice);
  return SB_OK;
}

static bool read_real(const char *text, double *value) {
  char *end;
  *value = strtod(text, &end);
  return end != text && !*end && isfinite(*value);
}

static sb_status compare(sb_key_kind kind, const char *meaning, const char *there, const char *here,
                         const char *path, const char *state, const char *advice) {
  double a, b;
  char text[SB_TEXT_SIZE];
  if (strcmp(there, here) == 0) return SB_OK;
  if (kind == SB_KEY_HASH)
    return sb_fail(SB_ERR_FORMAT, "%s: %s with another %s; %s", path, state, meaning, advice);
  if (kind == SB_KEY_REAL && read_real(there, &a)) {
    if (read_real(here, &b) && a == b) return SB_OK;
    there = sb_text_real(text, sizeof text, a);
  }
  return sb_fail(SB_ERR_FORMAT, "%s: %s with another %s: %.64s there, %s here; %s", path, state,
                 meaning, there, here, advice);
}

static bool has(const sb_key *key, const char *name) {
  for (size_t i = 0; i < key->count; i++)
    if (strcmp(key->entries[i].name, name) == 0) return true;
  return false;
}

sb_status sb_key_compare(const sb_key *key, json_t *object, const char *path, const char *state,
                         const char *advice) {
  const char *name;
  json_t *value;
  if (!json_is_object(object)) return sb_fail(SB_ERR_FORMAT, "%s: damaged: it has no key", path);
  for (size_t i = 0; i < key->count; i++) {
    const char *text = json_string_value(json_object_get(object, key->entries[i].name));
    SB_TRY(compare(key->entries[i].kind, key->entries[i].meaning, text ? text : SB_KEY_NONE,
                   key->entries[i].text, path, state, advice));
  }
  json_object_foreach(object, name, value) {
    const char *text = json_string_value(value);
    if (!has(key, name))
      SB_TRY(
          compare(SB_KEY_WORDS, name, text ? text : SB_KEY_NONE, SB_KEY_NONE, path, state, advice));
  }
  return SB_OK;
}
