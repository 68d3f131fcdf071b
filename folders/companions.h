/* The files of a Hugging Face folder beside the weights that its users want to find in what is made
 * from it: the configuration, the tokenizer, the generation settings. All functions are local. */
#ifndef SB_FOLDERS_COMPANIONS_H
#define SB_FOLDERS_COMPANIONS_H

#include "base/status.h"

/* Copies those that `source` has into `folder`. */
sb_status sb_companions_copy(const char *source, const char *folder);
/* Registers them, in `folder`, for removal on interruption (base/cleanup.h). */
sb_status sb_companions_guard(const char *folder);

#endif
