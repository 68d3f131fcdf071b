#include "plan/footprint.h"

#include <math.h>

#include "base/memory.h"

static void sum_phases(const sb_plan_basis *b, sb_footprint *f) {
  const double own[SB_PHASES] = {[SB_PHASE_SEARCH] = f->search.bytes,
                                 [SB_PHASE_REORDER] = f->reorder.bytes,
                                 [SB_PHASE_TABLES] = f->tables.bytes,
                                 [SB_PHASE_ROUND] = f->round.bytes,
                                 [SB_PHASE_TUNE] = f->tune.bytes};
  const double ranks = (double)sb_plan_node_ranks(b->setup);
  for (int p = 0; p < SB_PHASES; p++) {
    const bool packed = p == SB_PHASE_ROUND || p == SB_PHASE_TUNE;
    const double slots = f->held.slots + (packed ? f->packed.slots : 0.0);
    if (own[p] == 0.0) continue;
    f->phase_bytes[p] = f->held.bytes + own[p] + slots;
    if (f->phase_bytes[p] > f->phase_bytes[f->largest]) f->largest = (sb_plan_phase)p;
    f->node_bytes = fmax(f->node_bytes, (f->held.bytes + own[p]) * ranks + slots);
  }
  f->rank_bytes = f->phase_bytes[f->largest];
}

/* A group's image, and the buffers that kernels read and write in the largest phase. */
static double gpu_bytes(const sb_plan_basis *b, const sb_footprint *f) {
  const sb_plan_round *r = &f->round;
  const double search = f->search.pass.bytes - f->search.pass.reference,
               moments = r->factor == SB_FACTOR_REPLICATED ? r->moments : 0.0,
               round =
                   b->setup->round.gptq
                       ? fmax(r->prepared + r->inputs + r->activations + r->block_rows + moments,
                              r->tables)
                       : 0.0,
               tune = f->tune.pass.bytes + f->tune.scales;
  if (b->setup->gpus_per_node == 0) return 0.0;
  return (f->group_bytes + fmax(fmax(search, round), tune)) * (double)sb_plan_gpu_ranks(b->setup);
}

void sb_footprint_estimate(const sb_plan_setup *s, sb_footprint *f) {
  const sb_plan_basis b = sb_plan_basis_of(s);
  *f = (sb_footprint){.nodes = b.nodes,
                      .blocks = b.sizes.blocks,
                      .model_bytes = b.model_bytes,
                      .group_bytes = b.group_bytes,
                      .held = sb_plan_held_of(&b),
                      .packed = sb_plan_packed_of(&b),
                      .search = sb_plan_search_of(&b),
                      .reorder = sb_plan_reorder_of(&b),
                      .tables = sb_plan_tables_of(&b)};
  f->file_bytes = f->packed.model * (double)s->ranks;
  f->file_bits = 8.0 * f->file_bytes / (double)s->arch->parameters;
  f->round = sb_plan_round_of(&b, &f->packed, f->search.pass.reference + f->search.check.reference);
  f->tune = sb_plan_tune_of(&b, &f->packed);
  sum_phases(&b, f);
  f->gpu_bytes = gpu_bytes(&b, f);
}
