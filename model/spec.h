/* A row of the architecture's table: one tensor of a decoder layer, as a family describes
 * it. Plain data. */
#ifndef SB_MODEL_SPEC_H
#define SB_MODEL_SPEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The purpose of a tensor. A layer has at most one tensor per role and expert, and need not have
 * all roles. */
typedef enum sb_role {
  /* outside the layers */
  SB_ROLE_EMBED,      /* [vocab, hidden] */
  SB_ROLE_FINAL_NORM, /* [hidden] */
  SB_ROLE_LM_HEAD,    /* [vocab, hidden] */
  /* vectors of a layer */
  SB_ROLE_INPUT_NORM, /* [hidden], before attention */
  SB_ROLE_POST_NORM,  /* [hidden], before the MLP */
  /* matrices of a layer: outputs x inputs */
  SB_ROLE_Q,    /* [heads * head_dim, hidden] */
  SB_ROLE_K,    /* [kv_heads * head_dim, hidden] */
  SB_ROLE_V,    /* [kv_heads * head_dim, hidden] */
  SB_ROLE_O,    /* [hidden, heads * head_dim] */
  SB_ROLE_GATE, /* [intermediate, hidden] */
  SB_ROLE_UP,   /* [intermediate, hidden] */
  SB_ROLE_DOWN, /* [hidden, intermediate] */
  SB_ROLE_COUNT
} sb_role;

/* A vector of a layer. */
static inline bool sb_role_is_vector(sb_role role) {
  return role >= SB_ROLE_INPUT_NORM && role <= SB_ROLE_POST_NORM;
}

/* Short name of a role: "q_proj", "input_layernorm", "embed_tokens". */
const char *sb_role_name(sb_role role);

#define SB_NO_EXPERT SIZE_MAX

/* A matrix of a layer, which gets quantized. */
typedef struct sb_matrix_spec {
  const char *name; /* within the layer: "self_attn.q_proj.weight" */
  size_t rows, cols;
  /* Number of its input in the layer. Matrices with equal numbers multiply the same activations,
   * so they have equal `cols`. Numbers begin at 0 and each matrix has one that occurred before it,
   * or the next. */
  size_t input;
  size_t expert; /* its expert's number, or SB_NO_EXPERT */
} sb_matrix_spec;

/* A vector of a layer, which stays in its source type. */
typedef struct sb_vector_spec {
  const char *name; /* within the layer: "input_layernorm.weight" */
  size_t size;
} sb_vector_spec;

/* A tensor of a layer: a matrix or a vector. */
typedef struct sb_layer_tensor {
  sb_role role;
  bool is_matrix;
  union {
    sb_matrix_spec matrix;
    sb_vector_spec vector;
  };
} sb_layer_tensor;

#define SB_MATRIX_SPEC(role_, ...)                                                                 \
  {                                                                                                \
    .role = (role_), .is_matrix = true, .matrix = { __VA_ARGS__ }                                  \
  }
#define SB_VECTOR_SPEC(role_, ...)                                                                 \
  {                                                                                                \
    .role = (role_), .is_matrix = false, .vector = { __VA_ARGS__ }                                 \
  }

#endif
