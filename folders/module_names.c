#include "folders/module_names.h"

#include <stdio.h>
#include <string.h>

int sb_module_length(const sb_model_tensor *tensor) {
  const char *last = strrchr(tensor->name, '.');
  return last ? (int)(last - tensor->name) : (int)strlen(tensor->name);
}

bool sb_fused_modules_of(const sb_arch *arch, size_t tensor, sb_fused_modules *out) {
  static const struct {
    const char *name;
    size_t count;
    sb_role roles[3];
  } sets[] = {{"qkv_proj", 3, {SB_ROLE_Q, SB_ROLE_K, SB_ROLE_V}},
              {"gate_up_proj", 2, {SB_ROLE_GATE, SB_ROLE_UP}}};
  const sb_model_tensor *t = &arch->tensors[tensor];
  if (!t->is_linear) return false;
  for (size_t s = 0; s < sizeof sets / sizeof *sets; s++) {
    bool member = false;
    *out = (sb_fused_modules){.name = sets[s].name};
    for (size_t k = 0; k < sets[s].count; k++) {
      const size_t found = sb_arch_find(arch, sets[s].roles[k], t->layer, t->expert);
      if (found != SB_NONE) out->tensors[out->count++] = found;
      member |= found == tensor;
    }
    if (member && out->count == sets[s].count) return true;
  }
  return false;
}

static void append(char *out, const char *text) {
  const size_t at = strlen(out);
  snprintf(out + at, SB_MODULE_PATTERN - at, "%s", text);
}

/* Appends what matches the text alone. */
static void append_literal(char *out, const char *text, size_t length) {
  size_t at = strlen(out);
  for (size_t i = 0; i < length && at + 3 < SB_MODULE_PATTERN; i++) {
    if (text[i] == '.') out[at++] = '\\';
    out[at++] = text[i];
  }
  out[at] = 0;
}

void sb_module_pattern(const sb_arch *arch, size_t tensor, const sb_fused_modules *fused,
                       char out[SB_MODULE_PATTERN]) {
  const sb_model_tensor *t = &arch->tensors[tensor];
  const size_t length = (size_t)sb_module_length(t);
  size_t prefix = length;
  snprintf(out, SB_MODULE_PATTERN, "^");
  if (fused)
    while (prefix > 0 && t->name[prefix - 1] != '.') prefix--;
  append_literal(out, t->name, prefix);
  for (size_t k = 0; fused && k < fused->count; k++) {
    const sb_model_tensor *member = &arch->tensors[fused->tensors[k]];
    append(out, k == 0 ? "(?:" : "|");
    append_literal(out, member->name + prefix, (size_t)sb_module_length(member) - prefix);
  }
  if (fused) {
    append(out, "|");
    append(out, fused->name);
    append(out, ")");
  }
  append(out, "$");
}
