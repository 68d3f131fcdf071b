#include "model/fused.h"

static uint32_t *rows_of(const sb_arch *arch, const sb_orders *o, sb_role role, size_t layer) {
  return o->orders[o->row[sb_arch_index(arch, role, layer)]].from;
}

static uint32_t *cols_of(const sb_arch *arch, const sb_orders *o, sb_role role, size_t layer) {
  return o->orders[o->col[sb_arch_index(arch, role, layer)]].from;
}

uint32_t *sb_fused_residual(const sb_arch *arch, sb_orders *orders) {
  return cols_of(arch, orders, SB_ROLE_EMBED, 0);
}

uint32_t *sb_fused_mlp(const sb_arch *arch, sb_orders *orders, size_t layer) {
  return rows_of(arch, orders, SB_ROLE_GATE, layer);
}

void sb_fused_set_heads(const sb_arch *arch, sb_orders *orders, size_t layer,
                        const sb_fused_heads *heads) {
  const sb_config *c = &arch->config;
  const size_t d = c->head_dim, each = c->heads / c->kv_heads;
  uint32_t *q = rows_of(arch, orders, SB_ROLE_Q, layer),
           *k = rows_of(arch, orders, SB_ROLE_K, layer),
           *v = rows_of(arch, orders, SB_ROLE_V, layer),
           *o = cols_of(arch, orders, SB_ROLE_O, layer);
  for (size_t g = 0; g < c->kv_heads; g++) {
    const size_t group = heads->groups[g];
    const uint32_t *values = heads->values + g * d;
    for (size_t i = 0; i < d; i++) {
      k[g * d + i] = (uint32_t)(group * d + i);
      v[g * d + i] = (uint32_t)(group * d + values[i]);
    }
    for (size_t j = 0; j < each; j++) {
      const size_t at = (g * each + j) * d, head = group * each + heads->queries[g * each + j];
      for (size_t i = 0; i < d; i++) {
        q[at + i] = (uint32_t)(head * d + i);
        o[at + i] = (uint32_t)(head * d + values[i]);
      }
    }
  }
}

/* ---- checking ---- */

/* d channels at `from` are one whole source head as it is; *head says which. */
static bool is_whole_head(const uint32_t *from, size_t d, size_t *head) {
  *head = from[0] / d;
  for (size_t i = 0; i < d; i++)
    if (from[i] != *head * d + i) return false;
  return true;
}

/* d channels at `from` are those of the source head, in any order. */
static bool is_of_head(const uint32_t *from, size_t d, size_t head) {
  for (size_t i = 0; i < d; i++)
    if (from[i] / d != head) return false;
  return true;
}

static sb_status refuse(const sb_arch *arch, const sb_orders *o, sb_role role, size_t layer,
                        bool rows, const char *why) {
  const size_t tensor = sb_arch_index(arch, role, layer);
  return sb_fail(SB_ERR_FORMAT, "%s: %s, which changes what the model computes",
                 o->orders[rows ? o->row[tensor] : o->col[tensor]].name, why);
}

static sb_status check_layer(const sb_arch *arch, const sb_orders *orders, size_t layer) {
  const sb_config *c = &arch->config;
  const size_t d = c->head_dim, each = c->heads / c->kv_heads;
  const uint32_t *q = rows_of(arch, orders, SB_ROLE_Q, layer),
                 *k = rows_of(arch, orders, SB_ROLE_K, layer),
                 *v = rows_of(arch, orders, SB_ROLE_V, layer),
                 *o = cols_of(arch, orders, SB_ROLE_O, layer);
  for (size_t g = 0; g < c->kv_heads; g++) {
    size_t group, head;
    if (!is_whole_head(k + g * d, d, &group))
      return refuse(arch, orders, SB_ROLE_K, layer, true,
                    "channels move inside a head that RoPE turns");
    if (!is_of_head(v + g * d, d, group))
      return refuse(arch, orders, SB_ROLE_V, layer, true,
                    "its heads do not go where those of k go");
    for (size_t j = 0; j < each; j++) {
      const size_t at = (g * each + j) * d;
      if (!is_whole_head(q + at, d, &head))
        return refuse(arch, orders, SB_ROLE_Q, layer, true,
                      "channels move inside a head that RoPE turns");
      if (head / each != group)
        return refuse(arch, orders, SB_ROLE_Q, layer, true,
                      "a query head leaves its key-value group");
      for (size_t i = 0; i < d; i++)
        if (o[at + i] != head * d + v[g * d + i] % d)
          return refuse(arch, orders, SB_ROLE_O, layer, false,
                        "it does not follow the rows of q and v");
    }
  }
  return SB_OK;
}

sb_status sb_fused_check(const sb_arch *arch, const sb_orders *orders) {
  for (size_t layer = 0; layer < arch->config.layers; layer++)
    SB_TRY(check_layer(arch, orders, layer));
  return SB_OK;
}
