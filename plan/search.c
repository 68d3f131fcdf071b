#include "plan/search.h"

#include "alloc/allocate.h"
#include "alloc/allocate_trellis.h"
#include "kernels/shared/trellis.h"
#include "sensitivity/gains.h"

enum { SENT_PER_BLOCK = 64 }; /* four exact sums */

static double scores_bytes(const sb_plan_basis *b, const sb_plan_pass *pass) {
  const sb_plan_setup *s = b->setup;
  const bool from_costs = s->search.strides == 0;
  if (sb_is_trellis(s->blocking.code_kind)) return (double)sb_allocate_trellis_bytes(&b->sizes);
  /* MPI holds what it sums once more: of scores little, of second moments as much as they are */
  const size_t exchanged = s->search.estimator == SB_ESTIMATOR_HESSIAN && s->ranks > 1
                               ? (b->sizes.layer.grams + b->sizes.layer.rows) * sizeof(double[2])
                               : 0;
  return (double)sb_gains_bytes(&b->sizes, s->search.estimator, s->search.widths, from_costs,
                                pass->waves > 1) +
         (double)sb_allocate_bytes(&b->sizes, from_costs) + (double)exchanged;
}

/* A forward pass and what a divergence takes more. */
static double forward_flops(const sb_plan_setup *s, bool divergence) {
  return sb_arch_forward_flops(s->arch, s->seqlen) + (divergence ? sb_plan_head_flops(s) : 0.0);
}

static void count_work(const sb_plan_basis *b, bool divergence, sb_plan_search *out) {
  const sb_plan_setup *s = b->setup;
  const double local = (double)out->pass.local, waves = (double)out->pass.waves,
               ranks = (double)s->ranks;
  const double forward_bytes = b->layers_bytes + 2.0 * b->table_bytes;
  out->loss_flops = local * forward_flops(s, divergence);
  out->gradient_flops = local * (sb_arch_gradient_flops(s->arch, s->seqlen) +
                                 (divergence ? 2.0 * sb_plan_head_flops(s) : 0.0));
  if (s->search.estimator == SB_ESTIMATOR_HESSIAN) /* no gradients of matrices */
    out->gradient_flops -= local * 2.0 * (double)s->seqlen * (double)s->arch->linear_parameters;
  out->loss_sent = waves * b->sent * forward_bytes;
  out->gradient_sent = waves * b->sent * (2.0 * b->layers_bytes + 3.0 * b->table_bytes);
  if (b->nodes > 1)
    out->gradient_sent += SENT_PER_BLOCK * (double)b->sizes.blocks * (ranks - 1.0) / ranks;
  if (s->search.check_seqs == 0) return;
  out->check_flops = (double)out->check.local * forward_flops(s, divergence);
  out->check_sent = (double)out->check.waves * b->sent * forward_bytes;
}

sb_plan_search sb_plan_search_of(const sb_plan_basis *b) {
  const sb_plan_setup *s = b->setup;
  const bool divergence = s->search.estimator == SB_ESTIMATOR_DIVERGENCE;
  const size_t local = sb_plan_local(s, s->search.seqs);
  sb_plan_search out = {0};
  out.pass = sb_plan_pass_of(
      b, &(sb_plan_pass_needs){.local = local,
                               .learnt = local,
                               .divergence = divergence,
                               .backward = true,
                               .gradients = s->search.estimator != SB_ESTIMATOR_HESSIAN});
  if (s->search.check_seqs > 0) {
    const size_t check = sb_plan_local(s, s->search.check_seqs);
    out.check = sb_plan_pass_of(
        b, &(sb_plan_pass_needs){.local = check, .learnt = check, .divergence = divergence});
  }
  out.scores = scores_bytes(b, &out.pass);
  out.bytes = out.pass.bytes + out.check.bytes + out.scores;
  count_work(b, divergence, &out);
  return out;
}
