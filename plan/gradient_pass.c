#include "plan/gradient_pass.h"

#include "base/memory.h"
#include "pass/head.h"
#include "pass/kept_inputs.h"
#include "pass/layers.h"
#include "pass/loss_divergence.h"

/* Scratch of the CPU's attention: packed copies of K and V, backward also of their gradients, and
 * partial sums of dQ. */
double sb_plan_attention_bytes(const sb_plan_basis *b, bool backward) {
  const sb_config *c = &b->sizes.arch->config;
  const double tokens = (double)b->setup->seqlen,
               kv = (double)(c->kv_heads * c->head_dim) * tokens * 4.0,
               q = (double)(c->heads * c->head_dim) * tokens * 4.0,
               runs = (double)sb_div_up(16, c->kv_heads);
  return backward ? 4.0 * kv + (runs - 1.0) * q : 2.0 * kv;
}

/* A layer's matrices and the fits of their groups; an indexed model's, out of order, and its
 * orders (pass/device_layer.h). */
double sb_plan_layer_bytes(const sb_plan_basis *b) {
  const sb_layer_sizes *layer = &b->sizes.layer;
  const size_t operand = sb_dtype_size(b->backend.operand);
  size_t bytes =
      layer->weights * operand + layer->groups + 3 * b->sizes.arch->config.hidden * sizeof(float);
  if (b->setup->reorder == SB_REORDER_INDEXED)
    bytes += layer->largest * operand + 2 * (layer->rows + layer->cols) * sizeof(uint32_t);
  return (double)bytes;
}

/* Kept inputs, gradients of states, the head's states, and what tokens are and cost. */
static double input_bytes(const sb_wave_sizes *w, const sb_plan_pass_needs *n) {
  const size_t act = sb_dtype_size(w->backend->act),
               gradients = n->backward ? sb_wave_sizes_states(w) * act : 0;
  return (double)(sb_kept_inputs_bytes(w, n->backward ? SB_KEEP_ON_DEVICE : SB_KEEP_NOTHING) +
                  gradients + sb_head_bytes(w, n->backward) + sb_wave_bytes(w) +
                  sb_loss_tokens_bytes(w) + (n->local + 1) * sizeof(sb_sequence_loss));
}

sb_plan_pass sb_plan_pass_of(const sb_plan_basis *b, const sb_plan_pass_needs *n) {
  /* what pass.c decides by: a layer's input each, what leaves the last, three for the ends */
  const double states =
      (n->backward ? (double)b->sizes.layers + 4.0 : 2.0) + (n->divergence ? 1.0 : 0.0);
  sb_plan_pass p = {.local = n->local,
                    .wave = sb_plan_wave(b->setup, n->local, b->hidden_bytes * states)};
  const sb_wave_sizes w = sb_plan_wave_sizes(b, p.wave);
  p.waves = sb_max_size(sb_div_up(p.local, p.wave), 1);
  const sb_vocab_needs vocabulary = {.head = true,
                                     .teacher = n->divergence,
                                     .coded_embedding = b->coded_embedding,
                                     .coded_head = b->coded_head,
                                     .codes = n->codes};
  p.prepared = sb_plan_layer_bytes(b) + (double)sb_vocab_bytes(&w, &vocabulary);
  p.inputs = input_bytes(&w, n);
  p.activations =
      (double)sb_layers_bytes(&w, n->backward, b->setup->reorder == SB_REORDER_INDEXED) +
      sb_plan_attention_bytes(b, n->backward);
  p.gradient = n->gradients ? 4.0 * (double)b->sizes.layer.largest : 0.0;
  p.logits = (double)sb_head_logits_bytes(&w);
  p.reference = n->divergence ? (double)sb_loss_divergence_bytes(&w, n->learnt) : 0.0;
  p.bytes = p.prepared + p.inputs + p.activations + p.gradient + p.logits + p.reference;
  return p;
}
