/* What a path is that was given as a model, and what would do in its place. Local. */
#ifndef SB_FOLDERS_HF_PATH_H
#define SB_FOLDERS_HF_PATH_H

#include <stdbool.h>

#include "base/status.h"

/* SB_OK for a folder that may be a Hugging Face model, for a config.json, and for what another
 * message fits better. Else one line that says what `path` is and what would do: a name on the hub,
 * the root of a hub's cache, a file of weights, a link to nowhere (SB_ERR_UNSUPPORTED, SB_ERR_IO).
 */
sb_status sb_hf_path_check(const char *path);
/* The same where weights are needed: a folder that quantize wrote, or config.json alone, is none.
 */
sb_status sb_hf_path_check_model(const char *path);
/* Whether `path` is a folder of safetensors, be they complete or not. Reads its index, if any. */
bool sb_hf_path_has_weights(const char *path);

#endif
