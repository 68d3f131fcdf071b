#include "plan/round.h"

#include "base/memory.h"
#include "model/inputs.h"
#include "plan/gradient_pass.h"

enum { GROUP_BYTES = 20 }; /* of a group on its way to codes: sb_group */

/* Sums over the inputs (n channels) and matrices (rows x n) of the whole model. */
typedef struct sums {
  double squares, cubes, columns; /* n^2, n^3; rows x n^2 */
} sums;

static sums sums_of(const sb_arch *arch) {
  const double layers = (double)arch->config.layers;
  sums out = {0};
  for (size_t i = 0; i < SB_INPUTS; i++) {
    const double n = (double)sb_input_width(&arch->config, i);
    out.squares += layers * n * n;
    out.cubes += layers * n * n * n;
  }
  for (size_t i = 0; i < arch->count; i++) {
    const sb_model_tensor *t = &arch->tensors[i];
    if (t->is_linear) out.columns += (double)t->rows * (double)t->cols * (double)t->cols;
  }
  return out;
}

/* Second moments and factors; the widest inputs are factorised side by side, one a thread. */
static double replicated_bytes(const sb_plan_basis *b) {
  const double squares = (double)b->sizes.layer.squares, n = (double)b->sizes.layer.widest;
  return (b->setup->round.refine > 0 ? 20.0 : 16.0) * squares +
         8.0 * (b->setup->threads > 1 ? squares : n * n);
}

static double distributed_bytes(const sb_plan_basis *b, size_t local) {
  const sb_plan_setup *s = b->setup;
  const sb_layer_sizes *layer = &b->sizes.layer;
  const double n = (double)layer->widest,
               panel = (double)sb_min_size(layer->widest, SB_MOMENT_PANEL),
               kept = s->round.refine > 0 ? 12.0 : 8.0;
  const size_t sequence = sb_dtype_size(b->backend.operand) * s->seqlen * layer->channels,
               keep = sb_max_size(1, sb_min_size(s->input_bytes / sequence, local));
  return (kept * (double)layer->squares + 8.0 * n * n) / (double)s->ranks + 16.0 * panel * n +
         (double)(keep * sequence);
}

static void count_memory(const sb_plan_basis *b, sb_plan_round *out) {
  const sb_plan_setup *s = b->setup;
  const sb_layer_sizes *layer = &b->sizes.layer;
  const double operand = (double)sb_dtype_size(b->backend.operand);
  const sb_plan_pass forward = sb_plan_pass_of(b, &(sb_plan_pass_needs){.local = out->local});
  out->prepared =
      operand * (2.0 * (double)layer->weights + (double)(b->chunk * b->sizes.config->hidden));
  out->inputs = 2.0 * (double)out->local * b->hidden_bytes;
  out->activations = forward.activations;
  out->moments =
      out->factor == SB_FACTOR_REPLICATED ? replicated_bytes(b) : distributed_bytes(b, out->local);
  out->block_rows =
      (double)layer->sharing / (double)s->ranks *
      ((s->round.refine > 0 ? 9.0 : 5.0) + (double)GROUP_BYTES / (double)s->blocking.cols);
}

static void count_work(const sb_plan_basis *b, const sb_plan_packed *packed, sb_plan_round *out) {
  const sb_plan_setup *s = b->setup;
  const sums z = sums_of(s->arch);
  const double ranks = (double)s->ranks, local = (double)out->local, T = (double)s->seqlen;
  const bool replicated = out->factor == SB_FACTOR_REPLICATED;
  out->sent = b->sent * (b->model_bytes + packed->model * ranks);
  if (b->nodes > 1) out->sent += z.squares * (replicated ? 8.0 : 6.0);
  out->flops = 2.0 * local * (sb_arch_forward_flops(s->arch, s->seqlen) - sb_plan_head_flops(s));
  out->moment_flops = local * 2.0 * T * z.squares * (replicated ? 1.0 : 0.5);
  out->factor_flops = z.cubes * (replicated ? 4.0 / 3.0 : 2.0 / 3.0 / ranks);
  out->rounding_flops = z.columns / ranks;
  if (s->round.refine > 0) /* a whole product per pass, and one to begin with */
    out->refine_flops = 2.0 * out->rounding_flops * (1.0 + s->round.refine);
}

sb_plan_round sb_plan_round_of(const sb_plan_basis *b, const sb_plan_packed *packed) {
  const sb_plan_setup *s = b->setup;
  sb_plan_round out = {.bytes = packed->model};
  if (!s->round.gptq) return out; /* to nearest, a block row at a time */
  out.local = sb_plan_local(s, s->round.seqs);
  out.factor = sb_moments_settle(s->round.factor, b->sizes.layer.widest,
                                 s->round.moment_room ? s->round.moment_room : SB_MOMENT_HOST_ROOM);
  count_memory(b, &out);
  out.bytes =
      packed->model + out.prepared + out.inputs + out.activations + out.moments + out.block_rows;
  count_work(b, packed, &out);
  return out;
}
