#include "cli/token_list.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"

static bool is_there(const char *path) {
  return access(path, F_OK) == 0;
}

/* Cuts the weight off `entry`. */
static sb_status parse_entry(const char *option, char *entry, sb_train_source *out) {
  char *colon = strrchr(entry, ':'), *end = NULL;
  *out = (sb_train_source){.path = entry};
  if (colon && colon[1] && !is_there(entry)) {
    const double weight = strtod(colon + 1, &end);
    if (*end == '\0') {
      if (!(weight > 0) || !isfinite(weight))
        return sb_fail(SB_ERR_USAGE, "train: --%s %s: a weight is a number above 0", option, entry);
      *colon = '\0';
      out->weight = weight;
    }
  }
  if (entry[0]) return SB_OK;
  return sb_fail(SB_ERR_USAGE, "train: --%s takes FILE[:WEIGHT],..., and one of the names is empty",
                 option);
}

sb_status sb_token_list_parse(const char *option, const char *value, sb_token_list *out) {
  const size_t bytes = strlen(value) + 1;
  *out = (sb_token_list){0};
  SB_TRY(sb_alloc(&out->text, bytes, 1, "names of token files"));
  memcpy(out->text, value, bytes);
  const bool one = is_there(value);
  for (char *entry = out->text, *next; entry; entry = next) {
    next = one ? NULL : strchr(entry, ',');
    if (next) *next++ = '\0';
    if (out->count == SB_TRAIN_SOURCES)
      return sb_fail(SB_ERR_USAGE,
                     "train: --%s names more than %d files; use a pattern, 'part_*.bin'", option,
                     SB_TRAIN_SOURCES);
    SB_TRY(parse_entry(option, entry, &out->sources[out->count++]));
  }
  return SB_OK;
}

void sb_token_list_free(sb_token_list *list) {
  for (size_t i = 0; i < list->count; i++) sb_free(&list->made[i]);
  sb_free(&list->text);
  list->count = 0;
}
