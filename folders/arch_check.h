/* Check of a safetensors folder against its config.json. */
#ifndef SB_FOLDERS_ARCH_CHECK_H
#define SB_FOLDERS_ARCH_CHECK_H

#include "io/safetensors.h"
#include "model/arch.h"

/* SB_OK if each tensor of `arch` is stored, in its shape and with a dtype of weights; tensors[i] is
 * where arch->tensors[i] is, or NULL. Otherwise SB_ERR_FORMAT or SB_ERR_UNSUPPORTED with
 * one line for the first contradiction. `weights_path` names the model in messages. Local.
 * O(tensors). */
sb_status sb_arch_check(const sb_arch *arch, const sb_tensor_info *const *tensors,
                        const char *weights_path);

#endif
