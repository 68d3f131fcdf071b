/* Reads config.json of a Hugging Face folder. Local.
 *
 * Both common spellings are read: rope_theta at the top level with rope_scaling (`rope_type`, or
 * `type` in older files), and the newer object rope_parameters that holds all of it. A key that
 * would change the computed function (biases, another activation, sliding windows, partial rotary,
 * quantized weights) is refused by name; other keys are ignored. model/family.h lists the accepted
 * architectures and what each refuses. */
#ifndef SB_MODEL_CONFIG_READ_H
#define SB_MODEL_CONFIG_READ_H

#include <jansson.h>

#include "base/status.h"
#include "model/config.h"

/* Reads `path`: config.json itself, or the folder it is in. SB_ERR_IO, SB_ERR_FORMAT (a value that
 * cannot be), SB_ERR_UNSUPPORTED (one that is not computed here). */
sb_status sb_config_read(const char *path, sb_config *out);
/* The same, and the JSON it was read from, which the caller releases with json_decref. */
sb_status sb_config_read_json(const char *path, json_t **object, sb_config *out);
/* The same from parsed JSON; `path` names the source in messages. */
sb_status sb_config_parse(const json_t *object, const char *path, sb_config *out);

#endif
