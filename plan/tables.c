#include "plan/tables.h"

#include "alloc/allocate_tables.h"
#include "base/memory.h"
#include "quant/table_stats.h"

static double statistics_bytes(const sb_plan_basis *b) {
  const sb_plan_setup *s = b->setup;
  const sb_config *c = &s->arch->config;
  const size_t blocks =
      sb_div_up(c->vocab, s->blocking.rows) * sb_div_up(c->hidden, s->blocking.cols) * b->tables;
  if (!s->tables.chosen) return (double)sb_table_stats_bytes(s->arch, &s->blocking, true);
  return (double)sb_allocate_tables_bytes(&b->sizes, s->search.widths, b->chunk,
                                          sb_div_up(blocks, s->ranks), s->round.gptq);
}

sb_plan_tables sb_plan_tables_of(const sb_plan_basis *b) {
  const sb_plan_setup *s = b->setup;
  const size_t local = sb_plan_local(s, s->search.seqs);
  const double hidden = (double)s->arch->config.hidden;
  sb_plan_tables out = {0};
  if (!s->tables.measured) return out;
  out.pass = sb_plan_pass_of(
      b, &(sb_plan_pass_needs){.local = local, .backward = true, .gradients = true});
  out.statistics = statistics_bytes(b);
  out.bytes = out.pass.bytes + out.statistics;
  /* second moments of states and of their gradients */
  out.flops = (double)local * (sb_arch_gradient_flops(s->arch, s->seqlen) +
                               4.0 * (double)s->seqlen * hidden * hidden);
  out.sent = (double)out.pass.waves * b->sent * (2.0 * b->layers_bytes + 3.0 * b->table_bytes);
  if (b->nodes > 1) out.sent += 2.0 * 8.0 * hidden * hidden;
  return out;
}
