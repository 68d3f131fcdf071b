#include "plan/held.h"

#include "kernels/shared/trellis.h"
#include "model/orders.h"

/* Measured on glibc with Open MPI and OpenBLAS; bench/footprint.sh holds sums against runs. */
enum { PROGRAM_BYTES = 24 << 20, THREAD_BYTES = 1 << 20 };

/* Channels of all orders: of a fused model those of the residual stream, and in each layer the rows
 * of q, k and v, the columns of o, and the hidden channels of the MLP; of an indexed one the rows
 * of every matrix and the channels of every input. */
static size_t order_channels(const sb_arch *a, sb_reorder mode) {
  size_t channels = mode == SB_REORDER_FUSED ? a->config.hidden : a->channels;
  for (size_t layer = 0; layer < a->config.layers; layer++)
    for (size_t i = 0; i < sb_arch_matrices(a, layer); i++) {
      const sb_model_tensor *t = sb_arch_matrix(a, layer, i);
      const bool by_rows = t->role == SB_ROLE_Q || t->role == SB_ROLE_K || t->role == SB_ROLE_V;
      if (mode == SB_REORDER_INDEXED || by_rows)
        channels += t->rows;
      else if (t->role == SB_ROLE_O || t->role == SB_ROLE_DOWN)
        channels += t->cols;
    }
  return channels;
}

/* Twice: as they are, and inverted or on their way from one model to the next. */
static double order_bytes(const sb_plan_basis *b) {
  const sb_reorder mode = b->setup->reorder;
  if (mode == SB_REORDER_NONE) return 0.0;
  return 2.0 * (double)(order_channels(b->setup->arch, mode) * sizeof(uint32_t));
}

sb_plan_held sb_plan_held_of(const sb_plan_basis *b) {
  const sb_plan_setup *s = b->setup;
  const size_t channels =
      b->sizes.channels +
      (b->coded_embedding || b->coded_head ? b->tables * s->arch->config.hidden : 0);
  const double unit = (double)(s->blocking.rows * b->sizes.layer.widest * sb_dtype_size(s->source));
  sb_plan_held h = {.parameters = b->model_bytes / (double)s->ranks + (s->ranks > 1 ? unit : 0.0),
                    .slots = s->ranks > 1 ? 2.0 * b->group_bytes : 0.0,
                    .bit_maps = 4.0 * (double)b->sizes.blocks,
                    .orders = order_bytes(b),
                    .importance = s->fitted ? (double)(channels * sizeof(float)) : 0.0,
                    .factors = sb_is_trellis(s->blocking.code_kind)
                                   ? 2.0 * (double)(b->sizes.channels * sizeof(uint16_t))
                                   : 0.0,
                    .program = (double)PROGRAM_BYTES + (double)s->threads * THREAD_BYTES};
  h.bytes = h.parameters + h.bit_maps + h.orders + h.importance + h.factors + h.program;
  return h;
}

sb_plan_packed sb_plan_packed_of(const sb_plan_basis *b) {
  const sb_plan_setup *s = b->setup;
  const double linear = (double)s->arch->linear_parameters,
               norms = b->layers_bytes - linear * (double)sb_dtype_size(s->source),
               layer = (double)b->sizes.layer.weights * s->bits / 8.0,
               group = layer > b->packed_chunk_bytes ? layer : b->packed_chunk_bytes;
  const bool gathered = s->round.gptq || s->tune.seqs > 0;
  return (sb_plan_packed){.model = (linear * s->bits / 8.0 + norms + b->packed_tables_bytes) /
                                   (double)s->ranks,
                          .slots = s->ranks > 1 && gathered ? 2.0 * group : 0.0};
}
