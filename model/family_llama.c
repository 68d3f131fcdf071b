/* Llama 1 to 3 and what is built like it (SmolLM2, TinyLlama and others name the architecture), and
 * Mistral, whose layers are the same where no sequence leaves its sliding window: RMS norms before
 * attention and MLP, grouped-query attention with RoPE, SwiGLU, no biases. */
#include "model/family.h"

#include "base/limits.h"

static bool llama_tensor(const sb_config *c, size_t layer, size_t index, sb_layer_tensor *out) {
  const size_t h = c->hidden, q = c->heads * c->head_dim, kv = c->kv_heads * c->head_dim,
               i = c->intermediate, none = SB_NO_EXPERT;
  enum { ATTENTION_IN, ATTENTION_OUT, MLP_IN, MLP_OUT }; /* the inputs */
  const sb_layer_tensor specs[] = {
      SB_VECTOR_SPEC(SB_ROLE_INPUT_NORM, "input_layernorm.weight", h),
      SB_MATRIX_SPEC(SB_ROLE_Q, "self_attn.q_proj.weight", q, h, ATTENTION_IN, none),
      SB_MATRIX_SPEC(SB_ROLE_K, "self_attn.k_proj.weight", kv, h, ATTENTION_IN, none),
      SB_MATRIX_SPEC(SB_ROLE_V, "self_attn.v_proj.weight", kv, h, ATTENTION_IN, none),
      SB_MATRIX_SPEC(SB_ROLE_O, "self_attn.o_proj.weight", h, q, ATTENTION_OUT, none),
      SB_VECTOR_SPEC(SB_ROLE_POST_NORM, "post_attention_layernorm.weight", h),
      SB_MATRIX_SPEC(SB_ROLE_GATE, "mlp.gate_proj.weight", i, h, MLP_IN, none),
      SB_MATRIX_SPEC(SB_ROLE_UP, "mlp.up_proj.weight", i, h, MLP_IN, none),
      SB_MATRIX_SPEC(SB_ROLE_DOWN, "mlp.down_proj.weight", h, i, MLP_OUT, none),
  };
  (void)layer; /* all are alike */
  if (index >= sizeof specs / sizeof *specs) return false;
  *out = specs[index];
  return true;
}

static sb_status llama_check(const sb_config_source *source, sb_config *config) {
  (void)config;
  return sb_config_require_silu(source);
}

/* A token sees itself and those before it, `sliding_window` in all. The default of one that is
 * missing is 4096; null is none. */
static sb_status mistral_check(const sb_config_source *source, sb_config *config) {
  size_t window = 4096;
  SB_TRY(llama_check(source, config));
  if (json_is_null(json_object_get(source->object, "sliding_window"))) return SB_OK;
  SB_TRY(sb_config_count(source, "sliding_window", false, &sb_limit_positions, &window));
  sb_config_limit(config, window, "sliding_window");
  return SB_OK;
}

#define LLAMA_NAMES                                                                                \
  .embedding = "model.embed_tokens.weight", .final_norm = "model.norm.weight",                     \
  .head = "lm_head.weight", .layers = "model.layers"

const sb_family sb_family_llama = {.architecture = "LlamaForCausalLM",
                                   .model_type = "llama",
                                   .function = "llama",
                                   .positions = 2048,
                                   LLAMA_NAMES,
                                   .check = llama_check,
                                   .tensor = llama_tensor};

const sb_family sb_family_mistral = {.architecture = "MistralForCausalLM",
                                     .limits = "within its sliding window",
                                     .model_type = "mistral",
                                     .function = "llama",
                                     .positions = 131072,
                                     .needs_kv_heads = true,
                                     LLAMA_NAMES,
                                     .check = mistral_check,
                                     .tensor = llama_tensor};
