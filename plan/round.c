#include "plan/round.h"

#include "base/dtype.h"
#include "base/memory.h"
#include "pass/layerwise.h"
#include "plan/gradient_pass.h"
#include "quant/gptq.h"
#include "quant/gptq_tables.h"
#include "quant/layer_errors.h"
#include "quant/round_stack.h"

/* Sums over the inputs (n channels) and matrices (rows x n) of the whole model. */
typedef struct sums {
  double squares, cubes, columns; /* n^2, n^3; rows x n^2 */
} sums;

static sums sums_of(const sb_arch *arch) {
  sums out = {0};
  for (size_t i = 0; i < arch->input_count; i++) {
    const double n = (double)arch->inputs[i].width;
    out.squares += n * n;
    out.cubes += n * n * n;
  }
  for (size_t i = 0; i < arch->matrix_count; i++) {
    const sb_model_tensor *t = &arch->tensors[arch->matrices[i]];
    out.columns += (double)t->rows * (double)t->cols * (double)t->cols;
  }
  return out;
}

/* Rows of the matrices that share an input, which the rank owns, on their way to codes. */
static size_t stack_bytes(const sb_plan_basis *b) {
  const sb_plan_setup *s = b->setup;
  const size_t cols = sb_max_size(b->sizes.layer.widest, 1);
  const sb_round_setup setup = {.rows =
                                    sb_div_up(sb_div_up(b->sizes.layer.sharing, s->ranks), cols),
                                .cols = cols,
                                .block_cols = s->blocking.cols,
                                .code_kind = s->blocking.code_kind,
                                .refine = s->round.refine > 0};
  return sb_round_stack_bytes(&setup);
}

static void count_memory(const sb_plan_basis *b, sb_plan_round *out) {
  const sb_plan_setup *s = b->setup;
  const sb_wave_sizes wave = sb_plan_wave_sizes(b, sb_max_size(out->local, 1));
  out->prepared = 2.0 * sb_plan_layer_bytes(b);
  out->inputs = (double)sb_layerwise_state_bytes(&wave);
  out->activations =
      (double)sb_layerwise_bytes(&wave, s->reorder == SB_REORDER_INDEXED, b->coded_embedding) +
      sb_plan_attention_bytes(b, false) +
      (double)sb_gptq_transform_bytes(s->blocking.code_kind, &b->backend, s->seqlen,
                                      b->sizes.layer.widest) +
      (double)sb_layer_errors_bytes(out->local, s->seqlen, s->arch->config.hidden,
                                    sb_dtype_size(b->backend.act));
  sb_backend types = b->backend;
  const sb_moments_setup moments = {.backend = &types,
                                    .seqlen = s->seqlen,
                                    .local = out->local,
                                    .most_local = out->local,
                                    .input_bytes = s->input_bytes,
                                    .keep = s->round.refine > 0,
                                    .mode = out->factor};
  out->moments = (double)sb_moments_bytes(&moments, &b->sizes) +
                 (double)sb_moments_factor_bytes(&moments, &b->sizes, s->threads);
  out->block_rows = (double)stack_bytes(b);
}

/* Tables are rounded before layers, in memory that is given back. */
static void count_tables(const sb_plan_basis *b, size_t room, sb_plan_round *out) {
  const sb_plan_setup *s = b->setup;
  const double h = (double)s->arch->config.hidden, vocab = (double)s->arch->config.vocab;
  const int refine = s->round.table_refine;
  sb_backend types = b->backend;
  for (size_t i = 0; i < b->tables; i++) {
    if (s->tables.bits[i] == 0) continue;
    const sb_factor_mode factor = sb_moments_settle(s->round.factor, s->arch->config.hidden, room);
    const double flops = vocab * h * h / (double)s->ranks;
    out->tables =
        (double)sb_gptq_tables_bytes(&b->sizes, &types, b->chunk, factor, refine > 0, s->threads);
    out->factor_flops +=
        h * h * h * (factor == SB_FACTOR_REPLICATED ? 4.0 / 3.0 : 2.0 / 3.0 / (double)s->ranks);
    out->rounding_flops += flops;
    if (refine > 0) out->refine_flops += 2.0 * flops * (1.0 + refine);
  }
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

sb_plan_round sb_plan_round_of(const sb_plan_basis *b, const sb_plan_packed *packed,
                               double learnt) {
  const sb_plan_setup *s = b->setup;
  sb_plan_round out = {.candidates = s->round.times > 1 ? packed->model + learnt : 0.0};
  out.bytes = packed->model + out.candidates;
  if (!s->round.gptq) return out; /* to nearest, a block row at a time */
  out.local = sb_plan_local(s, s->round.seqs);
  const size_t room = s->round.moment_room ? s->round.moment_room : SB_MOMENT_HOST_ROOM;
  out.factor = sb_moments_settle(s->round.factor, b->sizes.layer.widest, room);
  count_memory(b, &out);
  count_work(b, packed, &out);
  count_tables(b, room, &out);
  const double layers = out.prepared + out.inputs + out.activations + out.moments + out.block_rows;
  out.bytes += layers > out.tables ? layers : out.tables;
  return out;
}
