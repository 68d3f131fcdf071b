#include "model/arch.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"

static const struct {
  const char *name, *file_name; /* within the model, or within a layer */
} roles[SB_ROLE_COUNT] = {
    [SB_ROLE_EMBED] = {"embed_tokens", "model.embed_tokens.weight"},
    [SB_ROLE_FINAL_NORM] = {"norm", "model.norm.weight"},
    [SB_ROLE_LM_HEAD] = {"lm_head", "lm_head.weight"},
    [SB_ROLE_INPUT_NORM] = {"input_layernorm", "input_layernorm.weight"},
    [SB_ROLE_Q] = {"q_proj", "self_attn.q_proj.weight"},
    [SB_ROLE_K] = {"k_proj", "self_attn.k_proj.weight"},
    [SB_ROLE_V] = {"v_proj", "self_attn.v_proj.weight"},
    [SB_ROLE_O] = {"o_proj", "self_attn.o_proj.weight"},
    [SB_ROLE_POST_NORM] = {"post_attention_layernorm", "post_attention_layernorm.weight"},
    [SB_ROLE_GATE] = {"gate_proj", "mlp.gate_proj.weight"},
    [SB_ROLE_UP] = {"up_proj", "mlp.up_proj.weight"},
    [SB_ROLE_DOWN] = {"down_proj", "mlp.down_proj.weight"},
};

const char *sb_role_name(sb_role role) {
  return roles[role].name;
}

static void shape_of(const sb_config *c, sb_role role, size_t *rows, size_t *cols) {
  size_t q = c->heads * c->head_dim, kv = c->kv_heads * c->head_dim;
  *rows = 1;
  *cols = c->hidden;
  switch (role) {
  case SB_ROLE_EMBED:
  case SB_ROLE_LM_HEAD:
    *rows = c->vocab;
    break;
  case SB_ROLE_Q:
    *rows = q;
    break;
  case SB_ROLE_K:
  case SB_ROLE_V:
    *rows = kv;
    break;
  case SB_ROLE_O:
    *rows = c->hidden, *cols = q;
    break;
  case SB_ROLE_GATE:
  case SB_ROLE_UP:
    *rows = c->intermediate;
    break;
  case SB_ROLE_DOWN:
    *rows = c->hidden, *cols = c->intermediate;
    break;
  case SB_ROLE_FINAL_NORM:
  case SB_ROLE_INPUT_NORM:
  case SB_ROLE_POST_NORM:
  case SB_ROLE_COUNT:
    break;
  }
}

static void describe(const sb_config *config, sb_role role, size_t layer, sb_model_tensor *out) {
  out->role = role;
  out->layer = role < SB_ROLE_INPUT_NORM ? SIZE_MAX : layer;
  if (role < SB_ROLE_INPUT_NORM)
    snprintf(out->name, sizeof out->name, "%s", roles[role].file_name);
  else
    snprintf(out->name, sizeof out->name, "model.layers.%zu.%s", layer, roles[role].file_name);
  shape_of(config, role, &out->rows, &out->cols);
  out->is_linear = sb_role_is_linear(role);
  out->rank = out->is_linear || role == SB_ROLE_EMBED || role == SB_ROLE_LM_HEAD ? 2 : 1;
}

void sb_linear_shape(const sb_config *config, sb_linear which, size_t *rows, size_t *cols) {
  size_t q = config->heads * config->head_dim, kv = config->kv_heads * config->head_dim;
  switch (which) {
  case SB_LINEAR_Q:
    *rows = q, *cols = config->hidden;
    return;
  case SB_LINEAR_K:
  case SB_LINEAR_V:
    *rows = kv, *cols = config->hidden;
    return;
  case SB_LINEAR_O:
    *rows = config->hidden, *cols = q;
    return;
  case SB_LINEAR_GATE:
  case SB_LINEAR_UP:
    *rows = config->intermediate, *cols = config->hidden;
    return;
  default:
    *rows = config->hidden, *cols = config->intermediate;
    return;
  }
}

sb_linear sb_linear_of_role(sb_role role) {
  switch (role) {
  case SB_ROLE_Q:
    return SB_LINEAR_Q;
  case SB_ROLE_K:
    return SB_LINEAR_K;
  case SB_ROLE_V:
    return SB_LINEAR_V;
  case SB_ROLE_O:
    return SB_LINEAR_O;
  case SB_ROLE_GATE:
    return SB_LINEAR_GATE;
  case SB_ROLE_UP:
    return SB_LINEAR_UP;
  case SB_ROLE_DOWN:
    return SB_LINEAR_DOWN;
  default:
    return SB_LINEARS;
  }
}

sb_status sb_arch_create(const sb_config *config, sb_arch *out) {
  memset(out, 0, sizeof *out);
  out->config = *config;
  size_t global = config->tie_embeddings ? 2 : 3;
  out->count = global + config->layers * SB_LAYER_TENSORS;
  SB_TRY(sb_alloc(&out->tensors, out->count, sizeof *out->tensors, "list of tensors"));
  for (size_t i = 0; i < global; i++) describe(config, (sb_role)i, 0, &out->tensors[i]);
  for (size_t i = global; i < out->count; i++)
    describe(config, (sb_role)(SB_ROLE_INPUT_NORM + (i - global) % SB_LAYER_TENSORS),
             (i - global) / SB_LAYER_TENSORS, &out->tensors[i]);
  for (size_t i = 0; i < out->count; i++) {
    const sb_model_tensor *t = &out->tensors[i];
    size_t elements =
        t->rows * t->cols; /* sb_config's ranges keep one matrix below 2^46 elements */
    if (!sb_add_size(out->parameters, elements, &out->parameters)) {
      sb_arch_free(out);
      return sb_fail(SB_ERR_FORMAT, "the number of parameters overflows 64 bits at %s", t->name);
    }
    if (t->is_linear) out->linear_parameters += elements;
  }
  return SB_OK;
}

void sb_arch_free(sb_arch *arch) {
  sb_free(&arch->tensors);
  arch->count = 0;
}

size_t sb_arch_index(const sb_arch *arch, sb_role role, size_t layer) {
  bool tied = arch->config.tie_embeddings;
  if (role < SB_ROLE_INPUT_NORM)
    return role == SB_ROLE_LM_HEAD && tied ? SB_ROLE_EMBED : (size_t)role;
  return (tied ? 2u : 3u) + layer * SB_LAYER_TENSORS + (size_t)(role - SB_ROLE_INPUT_NORM);
}

static double attention_flops(const sb_config *c, double T) {
  return (double)c->layers * 4.0 * (double)(c->heads * c->head_dim) * T * (T + 1.0) / 2.0;
}

static double head_flops(const sb_config *c, double T) {
  return 2.0 * T * (double)c->vocab * (double)c->hidden;
}

double sb_arch_forward_flops(const sb_arch *arch, size_t T) {
  double n = (double)T;
  return 2.0 * n * (double)arch->linear_parameters + head_flops(&arch->config, n) +
         attention_flops(&arch->config, n);
}

double sb_arch_gradient_flops(const sb_arch *arch, size_t T) {
  double n = (double)T;
  return 4.0 * 2.0 * n * (double)arch->linear_parameters + 3.0 * head_flops(&arch->config, n) +
         4.5 * attention_flops(&arch->config, n);
}
