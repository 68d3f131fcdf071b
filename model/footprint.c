#include "model/footprint.h"

#include <string.h>

#include "base/memory.h"

/* As the store's layout cuts the embedding and the head: about a layer's bytes, but neither tiny nor so many
 * rows that the logits become the largest buffer. */
enum { CHUNK_BYTES_MIN = 4 << 20, CHUNK_ROWS_MAX = 8192 };
enum { PROGRAM_BYTES = 24 << 20, THREAD_BYTES = 1 << 20, SCORE_BYTES_LAYER = 128, SCORE_BYTES_OWNED = 96 };

static size_t linear_elements(const sb_arch *arch, size_t *largest) {
  size_t sum = 0;
  *largest = 0;
  for (size_t role = SB_ROLE_INPUT_NORM; role < SB_ROLE_COUNT; role++) {
    const sb_model_tensor *t = sb_arch_tensor(arch, (sb_role)role, 0);
    if (!t->is_linear) continue;
    sum += t->rows * t->cols;
    *largest = sb_max_size(*largest, t->rows * t->cols);
  }
  return sum;
}

static size_t layer_blocks(const sb_arch *arch, size_t block_rows, size_t block_cols) {
  size_t sum = 0;
  for (size_t role = SB_ROLE_INPUT_NORM; role < SB_ROLE_COUNT; role++) {
    const sb_model_tensor *t = sb_arch_tensor(arch, (sb_role)role, 0);
    if (t->is_linear) sum += sb_div_up(t->rows, block_rows) * sb_div_up(t->cols, block_cols);
  }
  return sum;
}

size_t sb_footprint_blocks(const sb_arch *arch, size_t block_rows, size_t block_cols) {
  return layer_blocks(arch, block_rows, block_cols) * arch->config.layers;
}

static size_t chunk_rows(const sb_footprint_setup *s, double layer_bytes) {
  const sb_config *c = &s->arch->config;
  double row = (double)(c->hidden * sb_dtype_size(s->source));
  double rows = (layer_bytes > CHUNK_BYTES_MIN ? layer_bytes : CHUNK_BYTES_MIN) / row;
  size_t whole = rows < CHUNK_ROWS_MAX ? (size_t)rows : CHUNK_ROWS_MAX;
  whole = sb_max_size(whole / s->block_rows * s->block_rows, s->block_rows);
  return sb_min_size(whole, c->vocab);
}

/* Scratch of the attention's backward pass in kernels/cpu: four packed copies of K, V and their gradients,
 * and partial sums of dQ; forward only the first two. */
static double attention_scratch(const sb_config *c, double tokens, bool gradients) {
  double kv = (double)(c->kv_heads * c->head_dim) * tokens * 4.0,
         q = (double)(c->heads * c->head_dim) * tokens * 4.0;
  double runs = (double)sb_div_up(16, c->kv_heads);
  return gradients ? 4.0 * kv + (runs - 1.0) * q : 2.0 * kv;
}

static double layer_activations(const sb_config *c, double tokens, bool gradients) {
  double h = (double)c->hidden, q = (double)(c->heads * c->head_dim),
         kv = (double)(c->kv_heads * c->head_dim);
  double i = (double)c->intermediate,
         forward = 3.0 * h + 2.0 * q + 2.0 * kv + 2.0 * i + (double)c->heads + 2.0;
  double backward = 2.0 * q + 2.0 * kv + h + i;
  return tokens * 4.0 * (forward + (gradients ? backward : 0.0)) + attention_scratch(c, tokens, gradients);
}

static double order_bytes(const sb_footprint_setup *s) {
  const sb_config *c = &s->arch->config;
  const double layers = (double)c->layers, q = (double)(c->heads * c->head_dim),
               kv = (double)(c->kv_heads * c->head_dim), h = (double)c->hidden, i = (double)c->intermediate;
  const double sums =
      (q + h) + 2.0 * (kv + h) + (h + q) + 2.0 * (i + h) + (h + i); /* of a layer's matrices */
  const double orders = s->reorder == SB_REORDER_FUSED ? h + layers * (2.0 * q + 2.0 * kv + i)
                                                       : layers * (sums - 3.0 * h); /* shared columns */
  double bytes = 8.0 * orders + 16.0 * layers * sums / (double)s->ranks + 48.0 * sums;
  if (s->reorder == SB_REORDER_NONE) return 0.0;
  if (s->reorder == SB_REORDER_INDEXED) {
    size_t largest;
    linear_elements(s->arch, &largest);
    bytes += (double)largest * (s->compute == SB_COMPUTE_BF16 ? 2.0 : 4.0) + 8.0 * sums;
    bytes += 2.0 * (double)s->seqlen *
             (double)sb_max_size(sb_max_size(c->hidden, c->heads * c->head_dim), c->intermediate) * 4.0;
  }
  return bytes;
}

static void count_memory(const sb_footprint_setup *s, sb_footprint *f) {
  const sb_config *c = &s->arch->config;
  size_t largest, linear = linear_elements(s->arch, &largest),
                  per_layer = layer_blocks(s->arch, s->block_rows, s->block_cols);
  double source = (double)sb_dtype_size(s->source), weight = s->compute == SB_COMPUTE_BF16 ? 2.0 : 4.0;
  double tokens = (double)s->seqlen, ranks = (double)s->ranks, hidden = (double)c->hidden;
  double layer_bytes = ((double)linear + 2.0 * hidden) * source;
  size_t widest = sb_max_size(sb_max_size(c->hidden, c->intermediate), c->heads * c->head_dim);
  double chunk = (double)chunk_rows(s, layer_bytes), each = tokens * hidden * 4.0;
  double kept = s->gradients ? (double)c->layers + 4.0 : 2.0;

  f->model_bytes = (double)s->arch->parameters * source;
  f->group_bytes = chunk * hidden * source > layer_bytes ? chunk * hidden * source : layer_bytes;
  f->parameters = f->model_bytes / ranks + (s->ranks > 1 ? (double)(s->block_rows * widest) * source : 0.0);
  f->slots = 2.0 * f->group_bytes;
  f->prepared = (double)linear * weight + chunk * hidden * weight;
  double fit = s->wave_bytes / (each * kept);
  f->wave = fit >= (double)f->local_seqs ? sb_max_size(f->local_seqs, 1) : fit >= 1.0 ? (size_t)fit : 1;
  f->waves = sb_max_size(sb_div_up(f->local_seqs, f->wave), 1);
  f->inputs = (double)f->wave * each * kept;
  f->activations = layer_activations(c, tokens, s->gradients);
  f->gradient = s->gradients ? 4.0 * (double)largest : 0.0;
  f->logits = tokens * chunk * 4.0;
  f->scores = s->gradients
                  ? (double)per_layer * SCORE_BYTES_LAYER + (double)f->blocks / ranks * SCORE_BYTES_OWNED
                  : 0.0;
  f->bit_maps = (double)f->blocks * (s->gradients ? 4.0 : 1.0);
  f->orders = order_bytes(s);
  f->program = (double)PROGRAM_BYTES + (double)s->threads * THREAD_BYTES;
  double own = f->parameters + f->prepared + f->inputs + f->activations + f->gradient + f->logits +
               f->scores + f->bit_maps + f->orders + f->program;
  f->rank_bytes = own + f->slots;
  f->node_bytes = own * (double)sb_min_size(s->ranks, s->ranks_per_node) + f->slots;
}

void sb_footprint_estimate(const sb_footprint_setup *s, sb_footprint *f) {
  const sb_config *c = &s->arch->config;
  memset(f, 0, sizeof *f);
  f->nodes = sb_div_up(s->ranks, s->ranks_per_node);
  f->local_seqs = sb_div_up(s->seqs, s->ranks);
  f->blocks = sb_footprint_blocks(s->arch, s->block_rows, s->block_cols);
  count_memory(s, f);

  double source = (double)sb_dtype_size(s->source), table = (double)(c->vocab * c->hidden) * source;
  double layers = f->model_bytes - table * (c->tie_embeddings ? 1.0 : 2.0);
  double share = (double)(f->nodes - 1) / (double)s->ranks, waves = (double)f->waves;
  f->loss_traffic = waves * share * (layers + 2.0 * table);
  f->gradient_traffic =
      waves * share * (2.0 * layers + 3.0 * table) +
      (f->nodes > 1 ? 64.0 * (double)f->blocks * (double)(s->ranks - 1) / (double)s->ranks : 0.0);
  f->loss_flops = (double)f->local_seqs * sb_arch_forward_flops(s->arch, s->seqlen);
  f->gradient_flops = (double)f->local_seqs * sb_arch_gradient_flops(s->arch, s->seqlen);
}

double sb_footprint_seconds(const sb_footprint_setup *s, double flops, double traffic, double flop_rate,
                            double node_rate) {
  double compute = flop_rate > 0.0 ? flops / flop_rate : 0.0;
  double send =
      node_rate > 0.0 ? traffic * (double)sb_min_size(s->ranks, s->ranks_per_node) / node_rate : 0.0;
  return compute > send ? compute : send;
}
