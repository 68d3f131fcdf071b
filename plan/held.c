#include "plan/held.h"

#include "model/orders.h"

/* Measured on glibc with Open MPI and OpenBLAS; bench/footprint.sh holds sums against runs. */
enum { PROGRAM_BYTES = 24 << 20, THREAD_BYTES = 1 << 20 };

static double order_bytes(const sb_plan_basis *b) {
  const sb_config *c = b->sizes.config;
  const double layers = (double)c->layers, q = (double)(c->heads * c->head_dim),
               kv = (double)(c->kv_heads * c->head_dim), hidden = (double)c->hidden;
  switch (b->setup->reorder) {
  case SB_REORDER_FUSED:
    return 8.0 * (hidden + layers * (2.0 * q + 2.0 * kv + (double)c->intermediate));
  case SB_REORDER_INDEXED: /* inputs that matrices share have one order */
    return 8.0 * layers * ((double)(b->sizes.layer.rows + b->sizes.layer.cols) - 3.0 * hidden);
  default:
    return 0.0;
  }
}

sb_plan_held sb_plan_held_of(const sb_plan_basis *b) {
  const sb_plan_setup *s = b->setup;
  const double unit = (double)(s->blocking.rows * b->sizes.layer.widest * sb_dtype_size(s->source));
  sb_plan_held h = {
      .parameters = b->model_bytes / (double)s->ranks + (s->ranks > 1 ? unit : 0.0),
      .slots = s->ranks > 1 ? 2.0 * b->group_bytes : 0.0,
      .bit_maps = 4.0 * (double)b->sizes.blocks,
      .orders = order_bytes(b),
      .importance =
          s->fitted ? (double)(b->sizes.layers * b->sizes.layer.channels * sizeof(float)) : 0.0,
      .program = (double)PROGRAM_BYTES + (double)s->threads * THREAD_BYTES};
  h.bytes = h.parameters + h.bit_maps + h.orders + h.importance + h.program;
  return h;
}

sb_plan_packed sb_plan_packed_of(const sb_plan_basis *b) {
  const sb_plan_setup *s = b->setup;
  const double linear = (double)s->arch->linear_parameters,
               rest = b->model_bytes - linear * (double)sb_dtype_size(s->source),
               layer = (double)b->sizes.layer.weights * s->bits / 8.0,
               group = layer > b->chunk_bytes ? layer : b->chunk_bytes;
  const bool gathered = s->round.gptq || s->tune.seqs > 0;
  return (sb_plan_packed){.model = (linear * s->bits / 8.0 + rest) / (double)s->ranks,
                          .slots = s->ranks > 1 && gathered ? 2.0 * group : 0.0};
}
