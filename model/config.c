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
  if (c->rope_kind == SB_ROPE_YARN)
    n += snprintf(text + n, sizeof text - (size_t)n, " %a %a %a %d", c->rope_beta_fast,
                  c->rope_beta_slow, c->rope_attention, (int)c->rope_truncate);
  return XXH3_64bits(text, (size_t)n);
}

void sb_config_limit(sb_config *c, size_t tokens, const char *key) {
  if (c->longest != 0 && c->longest <= tokens) return;
  c->longest = tokens;
  c->longest_key = key;
}

sb_status sb_config_check_length(const sb_config *c, size_t T) {
  if (c->longest == 0 || T <= c->longest) return SB_OK;
  return sb_fail(SB_ERR_UNSUPPORTED,
                 "--seqlen %zu: beyond %zu tokens this model computes what is not supported (%s in "
                 "config.json); take at most %zu",
                 T, c->longest, c->longest_key, c->longest);
}
