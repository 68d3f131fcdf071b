/* A Llama of which only the table of tensors is there. */
#ifndef SB_TESTS_MODEL_LLAMA_H
#define SB_TESTS_MODEL_LLAMA_H

#include "model/arch.h"
#include "tests/support/assertions.h"

static inline sb_arch llama_of(size_t layers, size_t hidden, size_t intermediate, size_t heads,
                               size_t kv_heads) {
  sb_config config = {.layers = layers,
                      .hidden = hidden,
                      .intermediate = intermediate,
                      .heads = heads,
                      .kv_heads = kv_heads,
                      .head_dim = 64,
                      .vocab = 501};
  snprintf(config.architecture, sizeof config.architecture, "LlamaForCausalLM");
  sb_arch arch;
  assert_ok(sb_arch_create(&config, &arch));
  return arch;
}

#endif
