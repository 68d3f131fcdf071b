#include "folders/arch_check.h"

#include <inttypes.h>
#include <stdio.h>

static void shape_text(char *text, size_t size, size_t dims, const size_t *shape) {
  size_t n = 0;
  text[0] = 0;
  for (size_t i = 0; i < dims && n < size; i++)
    n += (size_t)snprintf(text + n, size - n, "%s%zu", i ? ", " : "", shape[i]);
}

static sb_status check_tensor(const sb_model_tensor *spec, const sb_tensor_info *info,
                              const sb_arch *arch, const char *path) {
  if (!info && spec->role == SB_ROLE_LM_HEAD)
    return sb_fail(
        SB_ERR_FORMAT,
        "%s: tensor lm_head.weight is missing, and config.json does not say tie_word_embeddings",
        path);
  if (!info)
    return sb_fail(SB_ERR_FORMAT, "%s: tensor %s is missing (config.json: %zu layers, %s)", path,
                   spec->name, arch->config.layers, arch->config.architecture);
  SB_TRY(sb_safetensors_require_weight(info));
  size_t want[2] = {spec->dims == 2 ? spec->rows : spec->cols, spec->cols};
  bool same = info->dims == spec->dims;
  for (size_t i = 0; same && i < spec->dims; i++) same = info->shape[i] == want[i];
  if (same) return SB_OK;
  char have_text[192], want_text[64];
  shape_text(have_text, sizeof have_text, info->dims, info->shape);
  shape_text(want_text, sizeof want_text, spec->dims, want);
  return sb_fail(SB_ERR_FORMAT, "%s: tensor %s has shape [%s], but config.json makes it [%s]",
                 info->file, spec->name, have_text, want_text);
}

sb_status sb_arch_check(const sb_arch *arch, const sb_tensor_info *const *tensors,
                        const char *weights_path) {
  for (size_t i = 0; i < arch->count; i++)
    SB_TRY(check_tensor(&arch->tensors[i], tensors[i], arch, weights_path));
  return SB_OK;
}
