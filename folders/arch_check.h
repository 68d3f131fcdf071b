/* Whether a safetensors folder holds the tensors its config.json promises. */
#ifndef SB_FOLDERS_ARCH_CHECK_H
#define SB_FOLDERS_ARCH_CHECK_H

#include "io/safetensors.h"
#include "model/arch.h"

/* Every tensor of `arch` is there, with its shape and a weight's dtype, and the layers' matrices
 * have the dtype that config.json names, if it names one (norms, embedding and head may be wider);
 * SB_ERR_FORMAT or SB_ERR_UNSUPPORTED with one line for the first contradiction otherwise. Further
 * tensors are ignored (rotary inv_freq buffers; the LM head that some tied models carry). Local;
 * `weights_path` names the model in messages. O(n log n) in the number of tensors. */
sb_status sb_arch_check(const sb_arch *arch, const sb_safetensors *weights,
                        const char *weights_path);

#endif
