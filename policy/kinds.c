#include "policy/kinds.h"

#include <string.h>

#include "base/memory.h"

sb_status sb_kinds_create(const sb_linears *linears, sb_kinds *out) {
  *out = (sb_kinds){0};
  sb_status status = sb_alloc(&out->name, linears->count, sizeof *out->name, "kinds of linears");
  SB_THEN(sb_alloc(&out->of, linears->count, sizeof *out->of, "kinds of linears"));
  if (status != SB_OK) sb_kinds_free(out);
  for (size_t i = 0; status == SB_OK && i < linears->count; i++) {
    const char *name = sb_linear_kind(&linears->linears[i]);
    size_t k = 0;
    while (k < out->count && strcmp(out->name[k], name) != 0) k++;
    if (k == out->count) out->name[out->count++] = name;
    out->of[i] = k;
  }
  return status;
}

void sb_kinds_free(sb_kinds *kinds) {
  sb_free(&kinds->name);
  sb_free(&kinds->of);
  kinds->count = 0;
}
