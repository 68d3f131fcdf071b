/* The small files beside the weights of a Hugging Face folder: configuration, tokenizer, generation
 * settings. Every folder that is made from it gets copies of them. All functions are local. */
#ifndef SB_FOLDERS_COMPANIONS_H
#define SB_FOLDERS_COMPANIONS_H

#include "base/status.h"

/* Copies the companions of folder `source`, those that exist, into `folder`. SB_ERR_IO. */
sb_status sb_companions_copy(const char *source, const char *folder);

#endif
