#include "plan/gradient_pass.h"

#include "base/memory.h"
#include "pass/layer.h"

/* Scratch of the CPU's attention: packed copies of K and V, backward also of their gradients, and
 * partial sums of dQ. */
static double attention_scratch(const sb_plan_basis *b, bool backward) {
  const sb_config *c = b->sizes.config;
  const double tokens = (double)b->setup->seqlen,
               kv = (double)(c->kv_heads * c->head_dim) * tokens * 4.0,
               q = (double)(c->heads * c->head_dim) * tokens * 4.0,
               runs = (double)sb_div_up(16, c->kv_heads);
  return backward ? 4.0 * kv + (runs - 1.0) * q : 2.0 * kv;
}

static double prepared_bytes(const sb_plan_basis *b) {
  const sb_layer_sizes *layer = &b->sizes.layer;
  const double operand = (double)sb_dtype_size(b->backend.operand);
  double bytes = (double)(layer->weights + b->chunk * b->sizes.config->hidden) * operand;
  if (b->setup->fitted) bytes += (double)layer->groups;
  if (b->setup->reorder == SB_REORDER_INDEXED)
    bytes += (double)layer->largest * operand + 8.0 * (double)(layer->rows + layer->cols);
  return bytes;
}

static double activation_bytes(const sb_plan_basis *b, bool backward) {
  const bool indexed = b->setup->reorder == SB_REORDER_INDEXED;
  return (double)sb_layer_work_bytes(b->backend.act, b->backend.operand, b->sizes.config,
                                     b->setup->seqlen, backward, indexed) +
         attention_scratch(b, backward);
}

/* States after the final norm, their log-sum-exps, and the sums of a wave (pass/loss_divergence.c).
 */
static double reference_bytes(const sb_plan_basis *b, size_t learnt, size_t wave) {
  const double T = (double)b->setup->seqlen,
               state = T * (double)(b->sizes.config->hidden * sb_dtype_size(b->backend.operand) +
                                    sizeof(float));
  return (double)(learnt + 1 + wave) * state + (double)wave * T * 16.0 + T * (double)b->chunk * 4.0;
}

sb_plan_pass sb_plan_pass_of(const sb_plan_basis *b, const sb_plan_pass_needs *n) {
  /* kept: a layer's input each, what leaves the last, and three buffers for the model's ends */
  const double kept = n->backward ? (double)b->sizes.layers + 4.0 : 2.0,
               each = b->hidden_bytes * (kept + (n->divergence ? 1.0 : 0.0));
  sb_plan_pass p = {.local = n->local, .wave = sb_plan_wave(b->setup, n->local, each)};
  p.waves = sb_max_size(sb_div_up(p.local, p.wave), 1);
  p.prepared = prepared_bytes(b);
  p.inputs = (double)p.wave * b->hidden_bytes * kept;
  p.activations = activation_bytes(b, n->backward);
  p.gradient = n->gradients ? 4.0 * (double)b->sizes.layer.largest : 0.0;
  p.logits = (double)(b->setup->seqlen * b->chunk) * 4.0;
  p.reference = n->divergence ? reference_bytes(b, n->learnt, p.wave) : 0.0;
  p.bytes = p.prepared + p.inputs + p.activations + p.gradient + p.logits + p.reference;
  return p;
}
