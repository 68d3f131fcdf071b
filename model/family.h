/* The families of networks that this program computes: one per architecture name, one file per
 * family. A family says which config.json it takes and which tensors its layers have.
 * docs/recipes.md has the steps to add one. Local, plain data.
 *
 * A family can describe a Llama-shaped layer (pass/layer.h) under any tensor names, with widths
 * that may differ between layers. All layers share the configuration's `head_dim`, number of query
 * heads per key-value head, RoPE and epsilon of the norms. Other activations and other places of
 * norms are not computed, so a family refuses them. Biases are refused for all, unless they are
 * zero (model/config_read.h). */
#ifndef SB_MODEL_FAMILY_H
#define SB_MODEL_FAMILY_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"
#include "model/config.h"
#include "model/config_source.h"
#include "model/spec.h"

typedef struct sb_family {
  const char *architecture; /* of config.json: "LlamaForCausalLM" */
  const char *limits;       /* for messages: "shorter than its sliding window"; NULL: none */
  const char *model_type;   /* of config.json: "llama" */
  /* The function of its layers, for fingerprints. Families with equal words and equal
   * configurations compute the same function of the same tensors. At most 15 characters. */
  const char *function;
  bool needs_kv_heads; /* num_key_value_heads must be given; else its default is the heads */
  /* Names outside the layers, and the prefix of a layer's number: "model.layers". */
  const char *embedding, *final_norm, *head, *layers;

  size_t positions; /* what a missing max_position_embeddings stands for */

  /* Refuses, by key and value, settings that would change the function and are not computed.
   * Settings that matter for long sequences only limit those of `config` (sb_config_limit).
   * SB_ERR_UNSUPPORTED, SB_ERR_FORMAT. */
  sb_status (*check)(const sb_config_source *source, sb_config *config);
  /* *out = tensor `index` of a layer in the order in which they are stored; false behind the last.
   * Names live until the next call. Pure. */
  bool (*tensor)(const sb_config *config, size_t layer, size_t index, sb_layer_tensor *out);
} sb_family;

/* The list. sb_family_NAME is defined in model/family_NAME.c, or beside the family whose layers it
 * shares (mistral: family_llama.c). */
#define SB_FAMILIES(X) X(llama) X(mistral)

#define SB_FAMILY_DECLARE(name) extern const sb_family sb_family_##name;
SB_FAMILIES(SB_FAMILY_DECLARE)
#undef SB_FAMILY_DECLARE

/* NULL behind the last. */
extern const sb_family *const sb_families[];

/* The family of an architecture name, or of a model type; NULL where there is none. */
const sb_family *sb_family_find(const char *architecture);
const sb_family *sb_family_of_type(const char *model_type);

#endif
