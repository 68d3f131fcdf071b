/* The configuration of a network: sizes, rotary embedding, norms. It is read from config.json of a
 * Hugging Face folder (model/config_read.h). Plain data, local. Every number lies in a range that
 * keeps the product of two sizes within 64 bits. */
#ifndef SB_MODEL_CONFIG_H
#define SB_MODEL_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/dtype.h"
#include "base/status.h"

/* Dynamic scaling is SB_ROPE_DEFAULT with a `longest`: below the trained length it scales nothing.
 */
typedef enum sb_rope_kind {
  SB_ROPE_DEFAULT,
  SB_ROPE_LINEAR,
  SB_ROPE_LLAMA3,
  SB_ROPE_YARN
} sb_rope_kind;

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
  double rope_factor;                       /* all but the default */
  double rope_low_factor, rope_high_factor; /* llama3: low_freq_factor, high_freq_factor */
  double rope_original_positions;           /* llama3, yarn: original_max_position_embeddings */
  double rope_beta_fast, rope_beta_slow;    /* yarn */
  bool rope_truncate;                       /* yarn: its range ends at whole channels */
  double rope_attention;                    /* yarn: factor of all cosines and sines */
  bool tie_embeddings;                      /* the LM head is the embedding */
  bool attention_bias, mlp_bias;            /* biases are announced (sb_config_parse_stored) */
  size_t max_positions;                     /* trained context, for information */
  double dropout; /* of attention, while training, for information: here there is none */
  /* Sequences of more tokens would be computed otherwise than here (a sliding window, dynamic
   * RoPE); 0: none. The key that says so, for messages. */
  size_t longest;
  const char *longest_key;
  bool has_dtype; /* torch_dtype (or dtype) was given; the files may hold another type */
  sb_dtype dtype;
} sb_config;

/* Sequences of more than `tokens` are computed otherwise than here, because of `key`, a literal.
 * The smallest number counts. */
void sb_config_limit(sb_config *config, size_t tokens, const char *key);
/* SB_ERR_UNSUPPORTED, naming --seqlen, where sequences of T tokens are longer than that. */
sb_status sb_config_check_length(const sb_config *config, size_t T);

/* A number that is equal for two configurations exactly when they describe the same function of the
 * same tensors (up to chance, 2^-64). Context length and storage type do not count. */
uint64_t sb_config_fingerprint(const sb_config *config);

#endif
