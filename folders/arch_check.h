/* Check of a safetensors folder against its config.json. */
#ifndef SB_FOLDERS_ARCH_CHECK_H
#define SB_FOLDERS_ARCH_CHECK_H

#include "io/safetensors.h"
#include "model/arch.h"

/* SB_OK if `weights` has every tensor of `arch`, in its shape and with a dtype of weights,
 * and if the layers' matrices have the dtype that config.json names, if any (norms, embedding
 * and head may be wider). Otherwise SB_ERR_FORMAT or SB_ERR_UNSUPPORTED with one line for the
 * first contradiction. Other tensors are ignored: rotary inv_freq buffers, the LM head in
 * some tied models. `weights_path` names the model in messages. Local. O(n log n) in the
 * number of tensors. */
sb_status sb_arch_check(const sb_arch *arch, const sb_safetensors *weights,
                        const char *weights_path);

#endif
