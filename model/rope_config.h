/* Reads the rotary embedding of a config.json. Local.
 *
 * Two spellings: rope_theta at the top level with rope_scaling (`rope_type`, or `type` in older
 * files), and the newer object rope_parameters that holds all of it. Where both are there they must
 * mean the same. Defaults are those of Hugging Face transformers 5 (modeling_rope_utils): theta
 * 10000; original_max_position_embeddings from the top level, else max_position_embeddings. */
#ifndef SB_MODEL_ROPE_CONFIG_H
#define SB_MODEL_ROPE_CONFIG_H

#include "base/status.h"
#include "model/config.h"
#include "model/config_source.h"

/* Sets the rope_ fields of *config, whose max_positions is known. SB_ERR_FORMAT;
 * SB_ERR_UNSUPPORTED for a type that is not computed. */
sb_status sb_config_rope(const sb_config_source *top, sb_config *config);

#endif
