#include "model/spec.h"

const char *sb_role_name(sb_role role) {
  static const char *const names[SB_ROLE_COUNT] = {
      [SB_ROLE_EMBED] = "embed_tokens",
      [SB_ROLE_FINAL_NORM] = "norm",
      [SB_ROLE_LM_HEAD] = "lm_head",
      [SB_ROLE_INPUT_NORM] = "input_layernorm",
      [SB_ROLE_POST_NORM] = "post_attention_layernorm",
      [SB_ROLE_Q] = "q_proj",
      [SB_ROLE_K] = "k_proj",
      [SB_ROLE_V] = "v_proj",
      [SB_ROLE_O] = "o_proj",
      [SB_ROLE_GATE] = "gate_proj",
      [SB_ROLE_UP] = "up_proj",
      [SB_ROLE_DOWN] = "down_proj",
  };
  return names[role];
}
