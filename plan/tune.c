#include "plan/tune.h"

#include "base/memory.h"
#include "quant/scale_gradients.h"
#include "quant/scale_numbers.h"
#include "quant/tune_scales.h"

enum { SENT_PER_NUMBER = 8 };

static void count_work(const sb_plan_basis *b, size_t batch_local, const sb_plan_packed *packed,
                       sb_plan_tune *out) {
  const sb_plan_setup *s = b->setup;
  const double ranks = (double)s->ranks, steps = (double)out->steps,
               forward = sb_arch_forward_flops(s->arch, s->seqlen), head = sb_plan_head_flops(s),
               local = steps * (double)batch_local;
  const double seen = (double)sb_plan_local(s, sb_tune_looked_at(s->tune.seqs, s->tune.batch));
  out->learn_flops = (double)out->local * forward + 2.0 * seen * (forward + head);
  out->forward_flops = local * (forward + head);
  const bool head_rows = s->tune.trained.tables[s->arch->config.tie_embeddings ? 0 : 1];
  out->step_flops =
      local * (sb_arch_gradient_flops(s->arch, s->seqlen) + (head_rows ? 3.0 : 2.0) * head);
  const double layers = packed->model * ranks - b->packed_tables_bytes,
               table = b->packed_table_bytes;
  out->sent = b->sent * (b->model_bytes + b->table_bytes + 2.0 * (layers + 2.0 * table) +
                         steps * (double)out->pass.waves * (2.0 * layers + 3.0 * table));
  if (b->nodes > 1)
    out->sent += steps * SENT_PER_NUMBER *
                 (double)sb_scale_numbers_owned(&b->sizes, s->tune.trained) * (ranks - 1.0);
}

sb_plan_tune sb_plan_tune_of(const sb_plan_basis *b, const sb_plan_packed *packed) {
  const sb_plan_setup *s = b->setup;
  sb_plan_tune out = {0};
  if (s->tune.seqs == 0) return out;
  const size_t batch_local = sb_plan_local(s, sb_min_size(s->tune.batch, s->tune.seqs));
  out.local = sb_plan_local(s, s->tune.seqs);
  out.steps = sb_div_up(s->tune.seqs, s->tune.batch) * s->tune.epochs;
  out.pass = sb_plan_pass_of(b, &(sb_plan_pass_needs){.local = batch_local,
                                                      .learnt = out.local,
                                                      .divergence = true,
                                                      .backward = true,
                                                      .gradients = true,
                                                      .codes = true});
  out.scales = (double)sb_scales_bytes(&b->sizes, s->tune.trained) +
               (double)sb_scale_gradients_bytes(&b->sizes, s->tune.trained);
  out.bytes = packed->model + out.pass.bytes + out.scales;
  count_work(b, batch_local, packed, &out);
  return out;
}
