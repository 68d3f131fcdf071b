#include "policy/forced.h"

#include <fnmatch.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "policy/policy_file.h"

static const char what[] = "forced precisions";

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

sb_status sb_forced_set(const sb_linears *linears, const sb_forced_options *options,
                        sb_precision *forced) {
  for (size_t i = 0; i < linears->count; i++) forced[i] = SB_PRECISION_FREE;
  for (const char *at = options->patterns; at && *at;) {
    const size_t length = strcspn(at, ",");
    SB_TRY(apply(linears, at, length, forced));
    at += length + (at[length] == ',');
  }
  if (options->keep_first > linears->layers || options->keep_last > linears->layers)
    return sb_fail(SB_ERR_RANGE, "%s: the model has %zu layers, fewer than are to be kept high",
                   what, linears->layers);
  for (size_t i = 0; i < linears->count; i++) {
    const size_t layer = linears->linears[i].layer;
    const bool kept = layer < options->keep_first || layer >= linears->layers - options->keep_last;
    if (kept && forced[i] == SB_PRECISION_FREE) forced[i] = SB_PRECISION_HIGH;
  }
  return SB_OK;
}
