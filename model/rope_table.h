/* The angles of the rotary embedding, from a configuration. Local, pure. */
#ifndef SB_MODEL_ROPE_TABLE_H
#define SB_MODEL_ROPE_TABLE_H

#include <stddef.h>

#include "model/config.h"

/* cos_sin[t][i] = {cos, sin} of position t times inverse frequency i, for t < T and i < head_dim /
 * 2 (float, as backend.h's rope takes it). Frequencies and angles are computed in float32, in the
 * order Hugging Face's modeling_rope_utils does, so that logits agree; cos and sin of that angle
 * are correctly rounded. YaRN multiplies both by its factor of attention: so they are the rotation
 * and its transpose too, and the backward pass takes the same table. O(T head_dim). */
void sb_rope_table(const sb_config *config, size_t T, float *cos_sin);

#endif
