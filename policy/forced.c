#include "policy/forced.h"

#include <fnmatch.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "policy/policy_file.h"

static const char what[] = "--force";

/* One entry, "PATTERN=PRECISION" of `length` bytes. */
static sb_status apply(const sb_linears *linears, const char *text, size_t length,
                       sb_precision *forced) {
  char entry[256];
  sb_precision precision;
  bool any = false;
  if (length >= sizeof entry)
    return sb_fail(SB_ERR_RANGE, "%s: the pattern %.40s... is longer than %zu bytes", what, text,
                   sizeof entry - 1);
  memcpy(entry, text, length);
  entry[length] = 0;
  char *equals = strrchr(entry, '=');
  if (!equals || equals == entry)
    return sb_fail(SB_ERR_RANGE, "%s: \"%s\" is not PATTERN=PRECISION, as in *.o_proj=bf16", what,
                   entry);
  *equals = 0;
  if (sb_policy_parse_precision(what, entry, equals + 1, &precision) != SB_OK) return SB_ERR_RANGE;
  for (size_t i = 0; i < linears->count; i++) {
    if (fnmatch(entry, linears->linears[i].name, 0) != 0) continue;
    any = true;
    if (forced[i] == SB_PRECISION_FREE) forced[i] = precision;
  }
  if (any) return SB_OK;
  return sb_fail(SB_ERR_RANGE, "%s: %s matches none of the linears, %s and so on", what, entry,
                 linears->linears[0].name);
}

/* First and last layers stay high; a pattern that says otherwise of them is a contradiction. */
static sb_status keep(const sb_linears *linears, const sb_forced_options *options,
                      sb_precision *forced) {
  const size_t first = options->keep_first, last = options->keep_last, layers = linears->layers;
  if (first > layers || last > layers - first)
    return sb_fail(SB_ERR_RANGE,
                   "--keep-first %zu and --keep-last %zu are more layers than the model's %zu",
                   first, last, layers);
  for (size_t i = 0; i < linears->count; i++) {
    const sb_linear *l = &linears->linears[i];
    const bool is_first = l->layer < first;
    if (!is_first && l->layer < layers - last) continue;
    if (forced[i] != SB_PRECISION_FREE && forced[i] != SB_PRECISION_HIGH)
      return sb_fail(SB_ERR_RANGE,
                     "--force makes %s %s, and --keep-%s %zu keeps its layer in bf16; give one of "
                     "them, or \"*.layers.%zu.*=bf16\" as the first pattern",
                     l->name, sb_precision_names[forced[i]], is_first ? "first" : "last",
                     is_first ? first : last, l->layer);
    forced[i] = SB_PRECISION_HIGH;
  }
  return SB_OK;
}

sb_status sb_forced_set(const sb_linears *linears, const sb_forced_options *options,
                        sb_precision *forced) {
  for (size_t i = 0; i < linears->count; i++) forced[i] = SB_PRECISION_FREE;
  for (const char *at = options->patterns; at && *at;) {
    const size_t length = strcspn(at, ",");
    SB_TRY(apply(linears, at, length, forced));
    at += length + (at[length] == ',');
  }
  return keep(linears, options, forced);
}
