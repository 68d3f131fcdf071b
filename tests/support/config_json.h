/* What the tests of configurations and tensor lists share: a config.json from a string with some
 * keys changed. */
#ifndef SB_TESTS_SUPPORT_CONFIG_JSON_H
#define SB_TESTS_SUPPORT_CONFIG_JSON_H

#include <jansson.h>

#include "model/arch.h"
#include "model/config_read.h"
#include "tests/support/assertions.h"

/* Parses the JSON object `base` after the members of `change` have been set in it (null removes
 * one, unless `keep_null`). */
static inline sb_status parse_config(const char *base, const char *change, bool keep_null,
                                     sb_config *out) {
  json_error_t error;
  json_t *object = json_loads(base, 0, &error), *patch = json_loads(change, 0, &error), *value;
  const char *key;
  assert_non_null(object);
  if (!patch) fail_msg("test is wrong: %s: %s", change, error.text);
  json_object_foreach(patch, key, value) {
    if (json_is_null(value) && !keep_null)
      json_object_del(object, key);
    else
      json_object_set(object, key, value);
  }
  sb_status status = sb_config_parse(object, "x/config.json", out);
  json_decref(object);
  json_decref(patch);
  return status;
}

/* SmolLM2-135M as its config.json has it, Llama 3.1 8B in both spellings. */
static const char smollm2[] =
    "{\"architectures\":[\"LlamaForCausalLM\"],\"attention_bias\":false,\"attention_dropout\":0.0,"
    "\"bos_"
    "token_id\":1,"
    "\"eos_token_id\":2,\"hidden_act\":\"silu\",\"hidden_size\":576,\"initializer_range\":0.0416,"
    "\"intermediate_size\":1536,\"is_llama_config\":true,\"max_position_embeddings\":8192,\"model_"
    "type\":"
    "\"llama\","
    "\"num_attention_heads\":9,\"num_hidden_layers\":30,\"num_key_value_heads\":3,\"pretraining_"
    "tp\":1,"
    "\"rms_norm_eps\":1e-05,\"rope_interleaved\":false,\"rope_scaling\":null,\"rope_theta\":100000,"
    "\"tie_word_embeddings\":true,\"torch_dtype\":\"bfloat16\",\"use_cache\":true,\"vocab_size\":"
    "49152}";
static const char llama31[] =
    "{\"architectures\":[\"LlamaForCausalLM\"],\"attention_bias\":false,\"bos_token_id\":128000,"
    "\"eos_token_id\":[128001,128008,128009],\"hidden_act\":\"silu\",\"hidden_size\":4096,"
    "\"intermediate_"
    "size\":14336,"
    "\"max_position_embeddings\":131072,\"mlp_bias\":false,\"model_type\":\"llama\",\"num_"
    "attention_heads\":"
    "32,"
    "\"num_hidden_layers\":32,\"num_key_value_heads\":8,\"rms_norm_eps\":1e-05,\"rope_scaling\":{"
    "\"factor\":"
    "8.0,"
    "\"low_freq_factor\":1.0,\"high_freq_factor\":4.0,\"original_max_position_embeddings\":8192,"
    "\"rope_type\":\"llama3\"},\"rope_theta\":500000.0,\"tie_word_embeddings\":false,\"torch_"
    "dtype\":"
    "\"bfloat16\","
    "\"vocab_size\":128256}";

/* The tensors of Llama 3.1 8B with the members of `change` set in its configuration: `layers`
 * fewer, say. */
static inline void llama31_arch(const char *change, sb_arch *out) {
  sb_config c;
  assert_ok(parse_config(llama31, change, false, &c));
  assert_ok(sb_arch_create(&c, out));
}

#endif
