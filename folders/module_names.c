#include "folders/module_names.h"

#include <stdio.h>
#include <string.h>

#include "model/ties.h"

int sb_module_length(const sb_model_tensor *tensor) {
  const char *last = strrchr(tensor->name, '.');
  return last ? (int)(last - tensor->name) : (int)strlen(tensor->name);
}

bool sb_fused_modules_of(const sb_arch *arch, size_t tensor, sb_fused_modules *out) {
  enum { MOST = sizeof out->tensors / sizeof *out->tensors };
  const sb_model_tensor *t = &arch->tensors[tensor];
  if (!t->is_linear) return false;
  const size_t first = sb_tied_to(arch, t->layer, t->matrix);
  const sb_role role = sb_arch_matrix(arch, t->layer, first)->role;
  *out = (sb_fused_modules){.name = role == SB_ROLE_Q ? "qkv_proj" : "gate_up_proj"};
  for (size_t m = first; m < sb_arch_matrices(arch, t->layer) && out->count < MOST; m++)
    if (sb_tied_to(arch, t->layer, m) == first)
      out->tensors[out->count++] = arch->matrices[arch->layers[t->layer].first_matrix + m];
  return out->count > 1;
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
