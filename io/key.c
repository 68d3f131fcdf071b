#include "io/key.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void sb_key_add(sb_key *key, const char *name, const char *meaning, const char *format, ...) {
  va_list arguments;
  if (key->count == SB_KEY_ENTRIES) return;
  key->entries[key->count].name = name;
  key->entries[key->count].meaning = meaning;
  va_start(arguments, format);
  vsnprintf(key->entries[key->count].text, SB_KEY_TEXT, format, arguments);
  va_end(arguments);
  key->count++;
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

sb_status sb_key_compare(const sb_key *key, const json_t *object, const char *path,
                         const char *state, const char *advice) {
  for (size_t i = 0; i < key->count; i++) {
    const char *text = json_string_value(json_object_get(object, key->entries[i].name));
    if (!text)
      return sb_fail(SB_ERR_FORMAT, "%s: damaged: its key lacks '%s'", path, key->entries[i].name);
    if (strcmp(text, key->entries[i].text) != 0)
      return sb_fail(SB_ERR_FORMAT, "%s: %s with another %s: %s there, %s here; %s", path, state,
                     key->entries[i].meaning, text, key->entries[i].text, advice);
  }
  return SB_OK;
}
