/* The folder that `train --adapt` writes its policies to: step-00000500.json, say, for the choice
 * that takes effect at step 500. Called on rank 0; all functions are local. */
#ifndef SB_POLICY_ADAPT_FOLDER_H
#define SB_POLICY_ADAPT_FOLDER_H

#include <stdint.h>

#include "io/file.h"
#include "policy/policy_file.h"

/* For asking before the work: the folder can be made, or is one that may be written to, and all
 * files of such names in it are policies, which a run may replace. SB_ERR_IO, SB_ERR_FORMAT. Leaves
 * nothing. O(files there). */
sb_status sb_adapt_folder_check(const char *folder);
/* Writes the policy of `step`, and makes the folder where it is missing. path[SB_PATH_MAX] = the
 * file. SB_ERR_IO. */
sb_status sb_adapt_folder_write(const char *folder, uint64_t step, const sb_policy *policy,
                                char *path);

#endif
