#include "policy/stages.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

static const char option[] = "pipeline stages";

void sb_stages_free(sb_stages *stages) {
  sb_free(&stages->first);
  stages->count = 0;
}

/* The next number of the list, at least 1; false where none stands there. */
static bool next_number(const char **text, size_t most, size_t *out) {
  char *end;
  if (**text < '0' || **text > '9') return false;
  const unsigned long long value = strtoull(*text, &end, 10);
  if (value < 1 || value > most || (*end != 0 && *end != ',')) return false;
  *text = *end ? end + 1 : end;
  if (*end == ',' && **text == 0) return false; /* a comma with nothing behind it */
  *out = (size_t)value;
  return true;
}

static sb_status wrong(const char *text, size_t layers) {
  return sb_fail(SB_ERR_RANGE,
                 "%s: \"%.80s\" is neither a number of stages, 1 to %zu, nor their layers, as in "
                 "10,12,10",
                 option, text, layers);
}

/* first[] from the layers of each stage. */
static sb_status read_list(const char *text, size_t layers, sb_stages *out) {
  const char *at = text;
  size_t sum = 0;
  for (size_t s = 0; *at; s++) {
    size_t own;
    if (!next_number(&at, layers, &own)) return wrong(text, layers);
    sum += own;
    if (sum > layers || s == layers) break;
    out->first[s + 1] = sum;
    out->count = s + 1;
  }
  if (sum == layers) return SB_OK;
  return sb_fail(SB_ERR_RANGE, "%s: the stages %.80s have %s%zu layers; the model has %zu", option,
                 text, sum > layers ? "at least " : "", sum, layers);
}

sb_status sb_stages_parse(const char *text, size_t layers, sb_stages *out) {
  const char *at = text;
  size_t count = 1;
  *out = (sb_stages){0};
  SB_TRY(sb_alloc(&out->first, layers + 1, sizeof *out->first, option));
  if (text && strchr(text, ',')) {
    const sb_status status = read_list(text, layers, out);
    if (status != SB_OK) sb_stages_free(out);
    return status;
  }
  if (text && (!next_number(&at, layers, &count) || *at)) {
    sb_stages_free(out);
    return wrong(text, layers);
  }
  out->count = count;
  for (size_t s = 0; s < count; s++)
    out->first[s + 1] = out->first[s] + layers / count + (s < layers % count);
  return SB_OK;
}

size_t sb_stages_of(const sb_stages *stages, size_t layer) {
  size_t s = 0;
  while (layer >= stages->first[s + 1]) s++;
  return s;
}
