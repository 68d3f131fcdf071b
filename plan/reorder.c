#include "plan/reorder.h"

#include "sensitivity/channels.h"

sb_plan_reorder sb_plan_reorder_of(const sb_plan_basis *b) {
  const sb_plan_setup *s = b->setup;
  const size_t local = sb_plan_local(s, s->search.seqs);
  sb_plan_reorder out = {0};
  if (s->reorder == SB_REORDER_NONE) return out;
  out.pass = sb_plan_pass_of(
      b, &(sb_plan_pass_needs){.local = local, .backward = true, .gradients = true});
  out.scores = (double)sb_channels_bytes(&b->sizes);
  out.bytes = out.pass.bytes + out.scores;
  return out;
}
