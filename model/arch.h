/* The tensors of a Llama, as Hugging Face names them, from its configuration. Local, plain data.
 *
 * Order: embedding, final norm, LM head (unless tied to the embedding), then the nine tensors of
 * layer 0, of layer 1, and so on, in the order of the enum. */
#ifndef SB_MODEL_ARCH_H
#define SB_MODEL_ARCH_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"
#include "model/config.h"

typedef enum sb_role {
  SB_ROLE_EMBED,      /* model.embed_tokens.weight                            [vocab, hidden] */
  SB_ROLE_FINAL_NORM, /* model.norm.weight                                    [hidden] */
  SB_ROLE_LM_HEAD,    /* lm_head.weight                                       [vocab, hidden] */
  SB_ROLE_INPUT_NORM, /* model.layers.L.input_layernorm.weight                [hidden] */
  SB_ROLE_Q, /* model.layers.L.self_attn.q_proj.weight               [heads * head_dim, hidden] */
  SB_ROLE_K, /* model.layers.L.self_attn.k_proj.weight               [kv_heads * head_dim, hidden]
              */
  SB_ROLE_V, /* model.layers.L.self_attn.v_proj.weight               [kv_heads * head_dim, hidden]
              */
  SB_ROLE_O, /* model.layers.L.self_attn.o_proj.weight               [hidden, heads * head_dim] */
  SB_ROLE_POST_NORM, /* model.layers.L.post_attention_layernorm.weight       [hidden] */
  SB_ROLE_GATE, /* model.layers.L.mlp.gate_proj.weight                  [intermediate, hidden] */
  SB_ROLE_UP,   /* model.layers.L.mlp.up_proj.weight                    [intermediate, hidden] */
  SB_ROLE_DOWN, /* model.layers.L.mlp.down_proj.weight                  [hidden, intermediate] */
  SB_ROLE_COUNT
} sb_role;

enum { SB_LAYER_TENSORS = SB_ROLE_COUNT - SB_ROLE_INPUT_NORM, SB_LAYER_LINEARS = 7 };

/* The quantizable matrices of a layer, in the order in which they are stored and numbered. */
typedef enum sb_linear {
  SB_LINEAR_Q,
  SB_LINEAR_K,
  SB_LINEAR_V,
  SB_LINEAR_O,
  SB_LINEAR_GATE,
  SB_LINEAR_UP,
  SB_LINEAR_DOWN,
  SB_LINEARS
} sb_linear;

/* Rows (outputs) and columns (inputs) of a layer's matrix. */
void sb_linear_shape(const sb_config *config, sb_linear which, size_t *rows, size_t *cols);

/* The matrix a tensor's role stands for; SB_LINEARS for norms, embedding and head. */
sb_linear sb_linear_of_role(sb_role role);

typedef struct sb_model_tensor {
  char name[80];
  sb_role role;
  size_t layer;      /* SIZE_MAX for the tensors outside the layers */
  size_t rank;       /* 1 or 2 dimensions in the file */
  size_t rows, cols; /* [rows, cols]; a vector is one row */
  bool is_linear;    /* a matrix of a decoder layer: what gets quantized */
} sb_model_tensor;

typedef struct sb_arch {
  sb_config config;
  size_t count;
  sb_model_tensor *tensors; /* [count], owned */
  size_t parameters;        /* all of them; a tied LM head counts once */
  size_t linear_parameters; /* of the is_linear ones */
} sb_arch;

/* SB_ERR_MEMORY, or SB_ERR_FORMAT when the sizes overflow. */
sb_status sb_arch_create(const sb_config *config, sb_arch *out);
void sb_arch_free(sb_arch *arch);

/* Index of a tensor in arch->tensors. `layer` is ignored for the roles outside the layers. For a
 * tied model the LM head's index is the embedding's. */
size_t sb_arch_index(const sb_arch *arch, sb_role role, size_t layer);
static inline const sb_model_tensor *sb_arch_tensor(const sb_arch *arch, sb_role role,
                                                    size_t layer) {
  return &arch->tensors[sb_arch_index(arch, role, layer)];
}

/* Short name of a role: "q_proj", "input_layernorm", "embed_tokens". */
const char *sb_role_name(sb_role role);
static inline bool sb_role_is_linear(sb_role role) {
  return role == SB_ROLE_Q || role == SB_ROLE_K || role == SB_ROLE_V || role == SB_ROLE_O ||
         role == SB_ROLE_GATE || role == SB_ROLE_UP || role == SB_ROLE_DOWN;
}

/* FLOPs (a multiply and an add are two) of one sequence of T tokens:
 *   linear layers   2 T linear_parameters
 *   LM head         2 T vocab hidden
 *   attention       layers x 2 x 2 heads head_dim T (T + 1) / 2     scores and weighted sums,
 * causal half only Norms, soft-max, SwiGLU and RoPE are not counted. */
double sb_arch_forward_flops(const sb_arch *arch, size_t T);
/* A forward pass that keeps layer inputs only, then the backward pass with recomputation: linear
 * layers 1 + 1
 * + 2, LM head 1 + 1 (gradient of the input; its weights need none, logits are recomputed: + 1),
 * attention 1
 * + 1 + 2.5 (recomputed scores, and four products) times the forward's. */
double sb_arch_gradient_flops(const sb_arch *arch, size_t T);

#endif
