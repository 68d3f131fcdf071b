#include "plan/footprint.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "model/chunks.h"
#include "model/inputs.h"
#include "pass/layer.h"
#include "quant/tune_scales.h"
#include "sensitivity/scores.h"

enum { PROGRAM_BYTES = 24 << 20, THREAD_BYTES = 1 << 20 };
/* a block: what scores.c holds of a layer, and of what the rank owns; what the search and its
 * allocator hold */
enum {
  SCORE_BYTES_LAYER = 128,
  SCORE_BYTES_OWNED = 96,
  SEARCH_BYTES_OWNED = 64,
  CORE_BYTES = 11 << 20
};
/* a group: its products and sums there, and here; what is trained, and its gradient twice */
enum { SCALE_BYTES_LAYER = 20, SCALE_BYTES_OWNED = 28 };
enum {
  EXACT = 16 /* bytes of an exact sum */,
  LOSSES = 8 * SB_WIDTHS,
  STORED_GRID = 6,
  GROUP = 20
};

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

/* Scratch of the attention's backward pass in kernels/cpu: four packed copies of K, V and their
 * gradients, and partial sums of dQ; forward only the first two. */
static double attention_scratch(const sb_config *c, double tokens, bool gradients) {
  double kv = (double)(c->kv_heads * c->head_dim) * tokens * 4.0,
         q = (double)(c->heads * c->head_dim) * tokens * 4.0;
  double runs = (double)sb_div_up(16, c->kv_heads);
  return gradients ? 4.0 * kv + (runs - 1.0) * q : 2.0 * kv;
}

static sb_dtype operand_type(const sb_footprint_setup *s) {
  return s->compute == SB_COMPUTE_BF16 ? SB_BF16 : SB_F32;
}
static double weight_bytes(const sb_footprint_setup *s) {
  return (double)sb_dtype_size(operand_type(s));
}

static double layer_activations(const sb_footprint_setup *s, bool gradients) {
  const sb_config *c = &s->arch->config;
  return (double)sb_layer_work_bytes(SB_F32, operand_type(s), s->arch, s->seqlen, gradients,
                                     false) +
         attention_scratch(c, (double)s->seqlen, gradients);
}

/* ---- sums over the matrices of a layer ---- */

typedef struct shape {
  size_t largest, linear;     /* elements: of a matrix, of all */
  size_t blocks;              /* of all */
  double rows_and_cols, rows; /* sums */
  double groups;              /* rows of blocks */
  size_t widest;              /* input channels */
  double channels, squares;   /* of the four inputs: n, n^2 */
  double cubes, rounding;     /* n^3; rows x n^2 of all matrices */
  double grams, widest_grams; /* elements of triangles; of the largest input's full blocks */
  double sharing;             /* elements of the matrices that share an input, at most */
} shape;

static shape describe(const sb_footprint_setup *s) {
  const sb_config *c = &s->arch->config;
  shape d = {0};
  double sharing[SB_INPUTS] = {0};
  d.linear = linear_elements(s->arch, &d.largest);
  d.blocks = layer_blocks(s->arch, s->block_rows, s->block_cols);
  for (int which = 0; which < SB_LINEARS; which++) {
    size_t rows, cols;
    sb_linear_shape(c, (sb_linear)which, &rows, &cols);
    const double r = (double)rows, n = (double)cols;
    d.rows += r;
    d.rows_and_cols += r + n;
    d.groups += r * (double)sb_div_up(cols, s->block_cols);
    d.rounding += r * n * n;
    sharing[sb_input_of((sb_linear)which)] += r * n;
  }
  for (size_t i = 0; i < SB_INPUTS; i++) {
    const size_t width = sb_input_width(c, i);
    const double n = (double)width;
    d.widest = sb_max_size(d.widest, width);
    d.channels += n;
    d.squares += n * n;
    d.cubes += n * n * n;
    d.grams += (double)sb_grams_count(width, s->block_cols);
    if (sharing[i] > d.sharing) d.sharing = sharing[i];
  }
  d.widest_grams = (double)(sb_div_up(d.widest, s->block_cols) * s->block_cols * s->block_cols);
  return d;
}

/* ---- memory ---- */

static void count_orders(const sb_footprint_setup *s, const shape *d, sb_footprint *f) {
  const sb_config *c = &s->arch->config;
  const double layers = (double)c->layers, q = (double)(c->heads * c->head_dim),
               kv = (double)(c->kv_heads * c->head_dim), h = (double)c->hidden,
               i = (double)c->intermediate;
  if (s->reorder == SB_REORDER_NONE) return;
  const double orders = s->reorder == SB_REORDER_FUSED
                            ? h + layers * (2.0 * q + 2.0 * kv + i)
                            : layers * (d->rows_and_cols - 3.0 * h); /* shared columns */
  f->orders = 8.0 * orders;
  f->order_scores = 16.0 * layers * d->rows_and_cols / (double)s->ranks + 48.0 * d->rows_and_cols;
  if (s->reorder != SB_REORDER_INDEXED) return;
  f->prepared += (double)d->largest * weight_bytes(s) + 8.0 * d->rows_and_cols;
  f->activations += 2.0 * (double)s->seqlen * (double)d->widest * 4.0;
}

static double move_bytes(const sb_footprint_setup *s, const shape *d, const sb_footprint *f) {
  const double grids = d->groups * SB_MOVES * STORED_GRID,
               kept = grids * (double)s->arch->config.layers;
  return (double)d->blocks * SCORE_BYTES_LAYER +
         (double)f->blocks / (double)s->ranks * SCORE_BYTES_OWNED +
         (kept > SB_KEPT_GRIDS ? grids : kept + (double)f->blocks);
}

static double diagonal_bytes(const sb_footprint_setup *s, const shape *d, const sb_footprint *f) {
  const double ranks = (double)s->ranks, widths = (double)s->widths;
  return (double)d->blocks * (EXACT * widths * (1.0 + 1.0 / ranks) + 2 * LOSSES) +
         d->groups * widths * STORED_GRID + (double)f->blocks / ranks * (EXACT * widths + LOSSES);
}

static double hessian_bytes(const sb_footprint_setup *s, const shape *d, const sb_footprint *f) {
  const double elements = d->grams + d->rows, ranks = (double)s->ranks;
  return EXACT * elements * (s->ranks > 1 ? 2.0 : 1.0) + 4.0 * (d->widest_grams + d->rows) +
         LOSSES * ((double)f->blocks + (double)d->blocks) / ranks +
         (f->waves > 1 ? EXACT * elements * (double)s->arch->config.layers / ranks : 0.0);
}

static void count_gains(const sb_footprint_setup *s, const shape *d, sb_footprint *f) {
  const double owned = (double)f->blocks / (double)s->ranks;
  f->scores = owned * SEARCH_BYTES_OWNED + CORE_BYTES;
  switch (s->gains) {
  case SB_GAINS_SCORES:
    f->scores += move_bytes(s, d, f);
    break;
  case SB_GAINS_DIAGONAL:
    f->scores += diagonal_bytes(s, d, f);
    break;
  case SB_GAINS_HESSIAN:
    f->scores += hessian_bytes(s, d, f);
    f->gradient = 0.0;
    break;
  case SB_GAINS_DIVERGENCE:
    f->scores += LOSSES * owned + fmax(move_bytes(s, d, f), diagonal_bytes(s, d, f));
    break;
  }
}

/* Sequences at a time, of `local`, whose layer inputs take `each`: at least one. */
static size_t wave_of(const sb_footprint_setup *s, size_t local, double each) {
  const double fit = s->wave_bytes / each;
  return fit >= (double)local ? sb_max_size(local, 1) : fit >= 1.0 ? (size_t)fit : 1;
}

/* Of the busiest rank in a batch that scales are trained on. */
static size_t batch_local(const sb_footprint_setup *s) {
  return sb_div_up(sb_min_size(s->tune_batch, s->tune_seqs), s->ranks);
}

/* A pass by divergence of `local` sequences, `wave` at a time (pass/loss_divergence.c). */
static double divergence_bytes(const sb_footprint_setup *s, size_t local, size_t wave,
                               double chunk) {
  const double T = (double)s->seqlen,
               state = T * ((double)s->arch->config.hidden * weight_bytes(s) + 4.0);
  return (double)(local + 1 + wave) * state + (double)wave * T * 16.0 + T * chunk * 4.0;
}

/* Of a sequence, forward or back: the LM head once more. */
static double divergence_flops(const sb_footprint_setup *s) {
  const sb_config *c = &s->arch->config;
  return 2.0 * (double)s->seqlen * (double)c->vocab * (double)c->hidden;
}

/* The same in the search, where it goes by divergence. */
static double reference_bytes(const sb_footprint_setup *s, size_t local, size_t wave,
                              double chunk) {
  return s->gains == SB_GAINS_DIVERGENCE ? divergence_bytes(s, local, wave, chunk) : 0.0;
}
static double reference_flops(const sb_footprint_setup *s) {
  return s->gains == SB_GAINS_DIVERGENCE ? divergence_flops(s) : 0.0;
}

/* sb_pass of the sequences that decide; `waves` of it. */
static void count_check(const sb_footprint_setup *s, const shape *d, double chunk,
                        sb_footprint *f) {
  const sb_config *c = &s->arch->config;
  const double tokens = (double)s->seqlen, each = (s->gains == SB_GAINS_DIVERGENCE ? 3.0 : 2.0) *
                                                  tokens * (double)c->hidden * 4.0;
  if (s->check_seqs == 0) return;
  const size_t local = sb_div_up(s->check_seqs, s->ranks);
  const size_t wave = wave_of(s, local, each);
  f->check_waves = sb_div_up(local, wave);
  f->check = (double)d->linear * weight_bytes(s) + (s->fitted ? d->groups : 0.0) +
             chunk * (double)c->hidden * weight_bytes(s) +
             (double)wave * 2.0 * tokens * (double)c->hidden * 4.0 + layer_activations(s, false) +
             tokens * chunk * 4.0;
  f->reference += reference_bytes(s, local, wave, chunk);
  f->check_flops = (double)local * (sb_arch_forward_flops(s->arch, s->seqlen) + reference_flops(s));
}

static void count_moments(const sb_footprint_setup *s, const shape *d, sb_footprint *f) {
  const double ranks = (double)s->ranks, n = (double)d->widest, T = (double)s->seqlen;
  f->factor = sb_moments_settle(s->factor, d->widest,
                                s->moment_room ? s->moment_room : SB_MOMENT_HOST_ROOM);
  if (f->factor == SB_FACTOR_REPLICATED) {
    /* the widest inputs are factorised side by side, one a thread */
    const double at_once = s->threads > 1 ? d->squares : n * n;
    f->moments = (s->refine > 0 ? 20.0 : 16.0) * d->squares + 8.0 * at_once;
    return;
  }
  const double panel = n < SB_MOMENT_PANEL ? n : SB_MOMENT_PANEL,
               sequence = weight_bytes(s) * T * d->channels;
  double keep = s->wave_bytes / sequence;
  if (keep > (double)f->round_local) keep = (double)f->round_local;
  if (keep < 1.0) keep = 1.0;
  const double kept = s->refine > 0 ? 12.0 : 8.0;
  f->moments = (kept * d->squares + 8.0 * n * n) / ranks + 16.0 * panel * n +
               (double)(size_t)keep * sequence;
}

static void count_round(const sb_footprint_setup *s, const shape *d, double chunk,
                        sb_footprint *f) {
  const sb_config *c = &s->arch->config;
  const double source = (double)sb_dtype_size(s->source), ranks = (double)s->ranks,
               layers = (double)c->layers;
  const double tokens = (double)s->seqlen, hidden = (double)c->hidden,
               packed = (double)d->linear * s->bits / 8.0;
  const double rest = f->model_bytes - layers * (double)d->linear * source;
  const double group = packed > chunk * hidden * source ? packed : chunk * hidden * source;
  f->packed = (layers * packed + rest) / ranks;
  if (!s->gptq && s->tune_seqs == 0) return; /* to nearest: written, never gathered */
  f->packed_slots = s->ranks > 1 ? 2.0 * group : 0.0;
  if (!s->gptq) return;
  f->round_local = sb_div_up(s->round_seqs, s->ranks);
  f->round_prepared = 2.0 * (double)d->linear * weight_bytes(s);
  f->round_inputs = (double)(f->round_local + 1) * tokens * hidden * 4.0;
  f->round_activations = layer_activations(s, false);
  count_moments(s, d, f);
  f->block_rows =
      d->sharing / ranks * ((s->refine > 0 ? 9.0 : 5.0) + (double)GROUP / (double)s->block_cols);
}

/* The largest batch has at most tune_batch sequences; sizes are those of the busiest rank. */
static void count_tune(const sb_footprint_setup *s, const shape *d, double chunk, sb_footprint *f) {
  const sb_config *c = &s->arch->config;
  const double ranks = (double)s->ranks, each = (double)s->seqlen * (double)c->hidden * 4.0,
               kept = (double)c->layers + 5.0;
  if (s->tune_seqs == 0) return;
  const size_t local = batch_local(s), wave = wave_of(s, local, each * kept);
  f->tune_local = sb_div_up(s->tune_seqs, s->ranks);
  f->tune_steps = sb_div_up(s->tune_seqs, s->tune_batch);
  f->tune_step_waves = sb_div_up(local, wave);
  f->tune_inputs = (double)wave * each * (kept - 1.0);
  f->tune_reference = divergence_bytes(s, f->tune_local, wave, chunk);
  f->scales = (SCALE_BYTES_LAYER + 8.0 / ranks) * d->groups +
              SCALE_BYTES_OWNED * d->groups * (double)c->layers / ranks;
}

static void count_phases(const sb_footprint_setup *s, size_t largest, sb_footprint *f) {
  const double common = f->parameters + f->bit_maps + f->orders + f->importance + f->program;
  const double pass = f->prepared + f->inputs + f->activations + f->gradient + f->logits;
  const double tuning = f->prepared + f->tune_inputs + f->activations + 4.0 * (double)largest +
                        f->logits + f->tune_reference + f->scales;
  const double own[SB_PHASES] = {common + pass + f->scores + f->check + f->reference,
                                 s->reorder == SB_REORDER_NONE ? 0.0
                                                               : common + pass + f->order_scores,
                                 common + f->packed + f->round_prepared + f->round_inputs +
                                     f->round_activations + f->moments + f->block_rows,
                                 s->tune_seqs == 0 ? 0.0 : common + f->packed + tuning};
  const double local = (double)sb_min_size(s->ranks, s->ranks_per_node);
  for (int p = 0; p < SB_PHASES; p++) {
    const double slots =
        f->slots + (p == SB_PHASE_ROUND || p == SB_PHASE_TUNE ? f->packed_slots : 0.0);
    if (own[p] == 0.0) continue;
    f->phase_bytes[p] = own[p] + slots;
    if (f->phase_bytes[p] > f->phase_bytes[f->largest]) f->largest = (sb_footprint_phase)p;
    if (own[p] * local + slots > f->node_bytes) f->node_bytes = own[p] * local + slots;
  }
  f->rank_bytes = f->phase_bytes[f->largest];
  const double search = f->prepared + f->inputs + f->activations + f->gradient + f->logits;
  const double round = !s->gptq ? 0.0
                                : f->round_prepared + f->round_inputs + f->round_activations +
                                      f->block_rows +
                                      (f->factor == SB_FACTOR_REPLICATED ? f->moments : 0.0);
  f->device_bytes = f->group_bytes + fmax(fmax(search, round), s->tune_seqs > 0 ? tuning : 0.0);
}

static void count_memory(const sb_footprint_setup *s, const shape *d, sb_footprint *f) {
  const sb_config *c = &s->arch->config;
  const double source = (double)sb_dtype_size(s->source), weight = weight_bytes(s),
               ranks = (double)s->ranks;
  const double tokens = (double)s->seqlen, hidden = (double)c->hidden, layers = (double)c->layers;
  const double layer_bytes = ((double)d->linear + 2.0 * hidden) * source;
  const double chunk = (double)sb_chunk_rows(c->vocab, c->hidden * sb_dtype_size(s->source),
                                             (size_t)layer_bytes, s->block_rows),
               each = tokens * hidden * 4.0, kept = layers + 4.0;

  f->model_bytes = (double)s->arch->parameters * source;
  f->group_bytes = chunk * hidden * source > layer_bytes ? chunk * hidden * source : layer_bytes;
  f->parameters =
      f->model_bytes / ranks + (s->ranks > 1 ? (double)(s->block_rows * d->widest) * source : 0.0);
  f->slots = s->ranks > 1 ? 2.0 * f->group_bytes : 0.0;
  f->bit_maps = (double)f->blocks * 4.0;
  f->importance = s->fitted ? 4.0 * layers * d->channels : 0.0;
  f->program = (double)PROGRAM_BYTES + (double)s->threads * THREAD_BYTES;
  f->prepared =
      (double)d->linear * weight + (s->fitted ? d->groups : 0.0) + chunk * hidden * weight;
  f->wave =
      wave_of(s, f->local_seqs, each * (kept + (s->gains == SB_GAINS_DIVERGENCE ? 1.0 : 0.0)));
  f->waves = sb_max_size(sb_div_up(f->local_seqs, f->wave), 1);
  f->inputs = (double)f->wave * each * kept;
  f->activations = layer_activations(s, true);
  f->gradient = 4.0 * (double)d->largest;
  f->logits = tokens * chunk * 4.0;
  count_orders(s, d, f);
  count_gains(s, d, f);
  f->reference = reference_bytes(s, f->local_seqs, f->wave, chunk);
  count_check(s, d, chunk, f);
  count_round(s, d, chunk, f);
  count_tune(s, d, chunk, f);
  count_phases(s, d->largest, f);
}

/* ---- traffic and arithmetic ---- */

static void count_work(const sb_footprint_setup *s, const shape *d, sb_footprint *f) {
  const sb_config *c = &s->arch->config;
  const double source = (double)sb_dtype_size(s->source),
               table = (double)(c->vocab * c->hidden) * source;
  const double layers = f->model_bytes - table * (c->tie_embeddings ? 1.0 : 2.0),
               T = (double)s->seqlen;
  const double others = (double)(f->nodes - 1), share = others / (double)s->ranks,
               waves = (double)f->waves;
  f->loss_traffic = waves * share * (layers + 2.0 * table);
  f->check_traffic = (double)f->check_waves * share * (layers + 2.0 * table);
  f->gradient_traffic =
      waves * share * (2.0 * layers + 3.0 * table) +
      (f->nodes > 1 ? 64.0 * (double)f->blocks * (double)(s->ranks - 1) / (double)s->ranks : 0.0);
  f->loss_flops = (double)f->local_seqs * sb_arch_forward_flops(s->arch, s->seqlen);
  f->gradient_flops = (double)f->local_seqs * sb_arch_gradient_flops(s->arch, s->seqlen);
  f->loss_flops += (double)f->local_seqs * reference_flops(s);
  f->gradient_flops += (double)f->local_seqs * 2.0 * reference_flops(s);
  if (s->gains == SB_GAINS_HESSIAN) /* no gradients of matrices */
    f->gradient_flops -= (double)f->local_seqs * 2.0 * T * (double)s->arch->linear_parameters;
  if (!s->gptq) return;
  const double depth = (double)c->layers, local = (double)f->round_local, ranks = (double)s->ranks;
  const bool replicated = f->factor == SB_FACTOR_REPLICATED;
  f->round_traffic = share * (f->model_bytes + f->packed * ranks) +
                     (f->nodes > 1 ? depth * d->squares * (replicated ? 8.0 : 6.0) : 0.0);
  f->round_flops =
      2.0 * local *
      (sb_arch_forward_flops(s->arch, s->seqlen) - 2.0 * T * (double)(c->vocab * c->hidden));
  f->moment_flops = local * depth * 2.0 * T * d->squares * (replicated ? 1.0 : 0.5);
  f->factor_flops = depth * d->cubes * (replicated ? 4.0 / 3.0 : 2.0 / 3.0 / ranks);
  f->rounding_flops = depth * d->rounding / ranks;
  /* a whole product a pass, and one to begin with */
  if (s->refine > 0) f->refine_flops = 2.0 * f->rounding_flops * (1.0 + s->refine);
}

static void count_tuning(const sb_footprint_setup *s, const shape *d, sb_footprint *f) {
  const sb_config *c = &s->arch->config;
  if (s->tune_seqs == 0) return;
  const double table = (double)(c->vocab * c->hidden) * (double)sb_dtype_size(s->source),
               steps = (double)f->tune_steps;
  const double share = (double)(f->nodes - 1) / (double)s->ranks, ranks = (double)s->ranks;
  const double local = steps * (double)batch_local(s);
  const double packed = f->packed * ranks - table * (c->tie_embeddings ? 1.0 : 2.0);
  const double forward = sb_arch_forward_flops(s->arch, s->seqlen);
  const double looked = (double)sb_div_up(sb_tune_looked_at(s->tune_seqs, s->tune_batch), s->ranks);
  f->tune_learn_flops =
      (double)f->tune_local * forward + 2.0 * looked * (forward + divergence_flops(s));
  f->tune_forward_flops = local * (forward + divergence_flops(s));
  f->tune_flops = local * (sb_arch_gradient_flops(s->arch, s->seqlen) + 2.0 * divergence_flops(s));
  f->tune_traffic =
      share * (f->model_bytes + table) + 2.0 * share * (packed + 2.0 * table) +
      steps * (double)f->tune_step_waves * share * (2.0 * packed + 3.0 * table) +
      (f->nodes > 1 ? steps * 8.0 * d->groups * (double)c->layers * (ranks - 1.0) / ranks : 0.0);
}

void sb_footprint_estimate(const sb_footprint_setup *s, sb_footprint *f) {
  const shape d = describe(s);
  memset(f, 0, sizeof *f);
  f->nodes = sb_div_up(s->ranks, s->ranks_per_node);
  f->local_seqs = sb_div_up(s->seqs, s->ranks);
  f->blocks = sb_footprint_blocks(s->arch, s->block_rows, s->block_cols);
  count_memory(s, &d, f);
  count_work(s, &d, f);
  count_tuning(s, &d, f);
}
