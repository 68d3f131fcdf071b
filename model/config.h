/* What config.json of a Hugging Face folder says about a Llama: sizes, rotary embedding, norms.
 * Local, plain data.
 *
 * Both spellings in the wild are read: rope_theta at the top level with rope_scaling (`rope_type`,
 * or `type` in older files), and the newer object rope_parameters that holds all of it. Keys that
 * would change what the network computes (biases, another activation, sliding windows, partial
 * rotary, quantized weights) are refused by name; keys that do not are ignored. Every number is
 * checked against a range, so that products of two sizes fit into 64 bits. */
#ifndef SB_MODEL_CONFIG_H
#define SB_MODEL_CONFIG_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/dtype.h"
#include "base/status.h"

typedef enum sb_rope_kind { SB_ROPE_DEFAULT, SB_ROPE_LINEAR, SB_ROPE_LLAMA3 } sb_rope_kind;

typedef struct sb_config {
  char architecture[32]; /* "LlamaForCausalLM" or "MistralForCausalLM" */
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

/* Reads `path`: config.json itself, or the folder it is in. SB_ERR_IO, SB_ERR_FORMAT (a value that
 * cannot be), SB_ERR_UNSUPPORTED (one that is not computed here). */
sb_status sb_config_read(const char *path, sb_config *out);
/* The same, and the JSON it was read from, which the caller releases with json_decref. */
sb_status sb_config_read_json(const char *path, json_t **object, sb_config *out);
/* The same from parsed JSON; `path` names the source in messages. */
sb_status sb_config_parse(const json_t *object, const char *path, sb_config *out);

/* A number that is equal for two configurations exactly when they describe the same function of the
 * same tensors (up to chance, 2^-64). Context length, token ids and storage type do not enter. */
uint64_t sb_config_fingerprint(const sb_config *config);

#endif
