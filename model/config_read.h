/* Reads config.json of a Hugging Face folder. Local.
 *
 * Fields that say the same are all read, and refused where they contradict each other:
 * architectures and model_type; dtype and torch_dtype; rope_scaling with rope_theta, and
 * rope_parameters. A key that would change the computed function (another activation, partial
 * rotary, quantized weights) is refused by name; other keys are ignored, whatever they hold. The
 * text is JSON as Python reads it (io/json_python.h). model/family.h lists the accepted
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
/* The same, but biases that are announced (attention_bias, mlp_bias) are left to the caller, who
 * looks whether the stored ones are zero. */
sb_status sb_config_read_stored(const char *path, sb_config *out);
sb_status sb_config_parse_stored(const json_t *object, const char *path, sb_config *out);

/* Makes `object`, the JSON that `config` was read from, say what the tensors made of it: whether
 * the LM head is the embedding, and that there are no biases. Takes out values that cannot be
 * written (io/json_python.h). For folders that are written from the model. */
void sb_config_restate(json_t *object, const sb_config *config);

#endif
