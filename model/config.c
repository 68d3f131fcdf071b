#include "model/config.h"

#include <stdio.h>
#include <xxhash.h>

uint64_t sb_config_fingerprint(const sb_config *c) {
  char text[512];
  int n =
      snprintf(text, sizeof text, "%s %zu %zu %zu %zu %zu %zu %zu %d %a %a %d", c->function,
               c->vocab, c->hidden, c->intermediate, c->layers, c->heads, c->kv_heads, c->head_dim,
               (int)c->tie_embeddings, c->rms_eps, c->rope_theta, (int)c->rope_kind);
  if (c->rope_kind != SB_ROPE_DEFAULT)
    n += snprintf(text + n, sizeof text - (size_t)n, " %a %a %a %a", c->rope_factor,
                  c->rope_low_factor, c->rope_high_factor, c->rope_original_positions);
  return XXH3_64bits(text, (size_t)n);
}
