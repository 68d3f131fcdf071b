/* The architecture as a table. It lists every tensor of a network in stored order and, for each
 * decoder layer, its matrices and their inputs. A family (model/family.h) fills it from a
 * configuration. Local, plain data.
 *
 * Order of the tensors: embedding, final norm, LM head (unless tied to the embedding), then the
 * tensors of layer 0, of layer 1, and so on, in the family's order. Layers may differ in number and
 * shape of their matrices, so no code may take layer 0 for all.
 *
 * The matrices of a layer get quantized. They are numbered from 0 within the layer, in stored
 * order, and through the whole model, layer by layer. The inputs of a layer are numbered too:
 * matrices that multiply the same activations (q, k and v, say) share one. */
#ifndef SB_MODEL_ARCH_H
#define SB_MODEL_ARCH_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"
#include "model/config.h"
#include "model/family.h"
#include "model/spec.h"

/* In place of the index of a matrix, a tensor or a layer that does not exist. */
#define SB_NONE SIZE_MAX

typedef struct sb_model_tensor {
  char name[96];
  sb_role role;
  size_t layer;      /* SB_NONE for the tensors outside the layers */
  size_t dims;       /* 1 or 2 dimensions in the file */
  size_t rows, cols; /* [rows, cols]; a vector is one row */
  bool is_linear;    /* a matrix of a decoder layer, which gets quantized */
  size_t matrix;     /* its number within its layer; SB_NONE unless is_linear */
  size_t input;      /* number of the input it multiplies; SB_NONE unless is_linear */
  size_t expert;     /* SB_NO_EXPERT where it belongs to none */
} sb_model_tensor;

/* An input of a layer: activations of `width` channels, which one or more matrices multiply. */
typedef struct sb_arch_input {
  size_t width;
  size_t first_matrix;  /* number within the layer of the first that multiplies it */
  size_t first_channel; /* channels of all inputs before this one, in the whole model */
} sb_arch_input;

/* A decoder layer: where its parts begin. The next layer's numbers are where they end. */
typedef struct sb_arch_layer {
  size_t first_tensor; /* in sb_arch.tensors */
  size_t first_matrix; /* in sb_arch.matrices */
  size_t first_input;  /* in sb_arch.inputs */
} sb_arch_layer;

typedef struct sb_arch {
  sb_config config;
  const sb_family *family;
  size_t count;
  sb_model_tensor *tensors; /* [count] */
  sb_arch_layer *layers;    /* [config.layers + 1] */
  size_t matrix_count;      /* in all layers */
  size_t *matrices;         /* [matrix_count] which tensor each is */
  size_t input_count;       /* in all layers */
  sb_arch_input *inputs;    /* [input_count] */
  size_t channels;          /* of all inputs */
  size_t most_matrices;     /* of a layer */
  size_t most_inputs;       /* of a layer */
  size_t parameters;        /* all of them; a tied LM head counts once */
  size_t linear_parameters; /* of the is_linear ones */
} sb_arch;

/* *out = the table of the family that config->architecture names. Release with sb_arch_free.
 * SB_ERR_MEMORY, SB_ERR_FORMAT when the sizes overflow, SB_ERR_UNSUPPORTED for an unknown name,
 * SB_ERR_INTERNAL for a family's table that breaks the rules of model/spec.h. O(tensors). */
sb_status sb_arch_create(const sb_config *config, sb_arch *out);
/* The same for a given family. */
sb_status sb_arch_create_of(const sb_family *family, const sb_config *config, sb_arch *out);
void sb_arch_free(sb_arch *arch);

/* ---- tensors by role ---- */

/* Index in arch->tensors, or SB_NONE where the layer has no such tensor. Roles outside the
 * layers ignore `layer`. For a tied model the LM head's index is the embedding's. O(tensors
 * of the layer). */
size_t sb_arch_find(const sb_arch *arch, sb_role role, size_t layer, size_t expert);
/* The same for tensors that belong to no expert. */
static inline size_t sb_arch_index(const sb_arch *arch, sb_role role, size_t layer) {
  return sb_arch_find(arch, role, layer, SB_NO_EXPERT);
}
/* A tensor that exists. */
static inline const sb_model_tensor *sb_arch_tensor(const sb_arch *arch, sb_role role,
                                                    size_t layer) {
  return &arch->tensors[sb_arch_index(arch, role, layer)];
}

/* ---- matrices and inputs of a layer ---- */

static inline size_t sb_arch_matrices(const sb_arch *arch, size_t layer) {
  return arch->layers[layer + 1].first_matrix - arch->layers[layer].first_matrix;
}
static inline const sb_model_tensor *sb_arch_matrix(const sb_arch *arch, size_t layer,
                                                    size_t matrix) {
  return &arch->tensors[arch->matrices[arch->layers[layer].first_matrix + matrix]];
}
static inline size_t sb_arch_inputs(const sb_arch *arch, size_t layer) {
  return arch->layers[layer + 1].first_input - arch->layers[layer].first_input;
}
static inline const sb_arch_input *sb_arch_input_of(const sb_arch *arch, size_t layer,
                                                    size_t input) {
  return &arch->inputs[arch->layers[layer].first_input + input];
}
/* Channels of all inputs of the layers before `layer`; of all inputs for layer == layers. */
static inline size_t sb_arch_first_channel(const sb_arch *arch, size_t layer) {
  const size_t input = arch->layers[layer].first_input;
  return input < arch->input_count ? arch->inputs[input].first_channel : arch->channels;
}
/* Largest number of rows, or of columns, among the matrices of a role in all layers; 0 for none. */
size_t sb_arch_most_rows(const sb_arch *arch, sb_role role);
size_t sb_arch_most_cols(const sb_arch *arch, sb_role role);

/* ---- work ---- */

/* FLOPs (a multiply and an add are two) of one sequence of T tokens:
 *
 *   matrices of layers   2 T linear_parameters
 *   LM head              2 T vocab hidden
 *   attention            2 x 2 rows(q) T (T + 1) / 2 per layer: scores and weighted sums, of the
 *                        causal half only
 *
 * Norms, soft-max, SwiGLU and RoPE are not counted. */
double sb_arch_forward_flops(const sb_arch *arch, size_t T);
/* A forward pass that keeps the inputs of layers only, then the backward pass with recomputation.
 * In units of the forward pass:
 *
 *   matrices of layers   1 + 1 + 2     forward, recomputed, both gradients
 *   LM head              1 + 1 + 1     forward, recomputed, gradient of its input
 *   attention            1 + 1 + 2.5   forward, recomputed, scores again and four products */
double sb_arch_gradient_flops(const sb_arch *arch, size_t T);
/* The same for one layer, without the LM head. */
double sb_arch_layer_forward_flops(const sb_arch *arch, size_t layer, size_t T);
double sb_arch_layer_gradient_flops(const sb_arch *arch, size_t layer, size_t T);

#endif
