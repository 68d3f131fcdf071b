/* The configuration of a network: sizes, rotary embedding, norms. It is read from config.json of a
 * Hugging Face folder (model/config_read.h). Plain data, local. Every number lies in a range that
 * keeps the product of two sizes within 64 bits. */
#ifndef SB_MODEL_CONFIG_H
#define SB_MODEL_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/dtype.h"

typedef enum sb_rope_kind { SB_ROPE_DEFAULT, SB_ROPE_LINEAR, SB_ROPE_LLAMA3 } sb_rope_kind;

typedef struct sb_config {
  char architecture[48]; /* of its family (model/family.h): "LlamaForCausalLM" */
  char function[16];     /* the function of its layers, for fingerprints: "llama" */
  size_t vocab;          /* rows of the embedding */
  size_t hidden;         /* width of the residual stream */
  size_t intermediate;   /* width of the MLP */
  size_t layers;
  size_t heads, kv_heads; /* heads is a multiple of kv_heads */
  size_t head_dim;        /* even; heads * head_dim need not be `hidden` */
  double rms_eps;
  double rope_theta;
  sb_rope_kind rope_kind;
  double rope_factor;                       /* linear and llama3 */
  double rope_low_factor, rope_high_factor; /* llama3: low_freq_factor, high_freq_factor */
  double rope_original_positions;           /* llama3: original_max_position_embeddings */
  bool tie_embeddings;                      /* the LM head is the embedding */
  size_t max_positions;                     /* trained context, for information */
  int64_t bos, eos; /* token ids, -1 where none is given; eos is the first of a list */
  bool has_dtype;   /* torch_dtype (or dtype) was given */
  sb_dtype dtype;
} sb_config;

/* A number that is equal for two configurations exactly when they describe the same function of the
 * same tensors (up to chance, 2^-64). Context length, token ids and storage type do not count. */
uint64_t sb_config_fingerprint(const sb_config *config);

#endif
