/* Names of modules as configurations of servers have them: a tensor's name without its last word,
 * ".weight"; and those of the modules that servers make one of. A server asks its configuration for
 * the fused name, some (SGLang) for no other, so a pattern has it too. Pure. */
#ifndef SB_FOLDERS_MODULE_NAMES_H
#define SB_FOLDERS_MODULE_NAMES_H

#include <stdbool.h>

#include "model/arch.h"

/* Matrices of a layer that servers make one of (model/ties.h). */
typedef struct sb_fused_modules {
  const char *name; /* of what they become: "qkv_proj" */
  size_t count;
  size_t tensors[3]; /* [count] of the architecture */
} sb_fused_modules;

enum { SB_MODULE_PATTERN = 512 };

/* Bytes of a module's name. */
int sb_module_length(const sb_model_tensor *tensor);

/* The set that a tensor belongs to; false for a tensor that stays by itself. */
bool sb_fused_modules_of(const sb_arch *arch, size_t tensor, sb_fused_modules *out);

/* out = the regular expression that matches the module of a tensor and no other:
 * "^model\.layers\.0\.mlp\.down_proj$"; with `fused`, its set and what they become. */
void sb_module_pattern(const sb_arch *arch, size_t tensor, const sb_fused_modules *fused,
                       char out[SB_MODULE_PATTERN]);

#endif
