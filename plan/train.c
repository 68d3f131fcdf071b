#include "plan/train.h"

#include "base/memory.h"
#include "pass/kept_states.h"
#include "pass/vocabulary.h"
#include "plan/held.h"
#include "train/gradient_sums.h"
#include "train/optimizer.h"

/* A walk forward and one back gather all groups, tables once more; sums go to owners wave by
 * wave. */
static double sent_bytes(const sb_plan_basis *b, const sb_plan_train *t) {
  const double waves = (double)t->pass.waves, ranks = (double)b->setup->ranks;
  const double walks = b->sent * (2.0 * b->layers_bytes + 3.0 * b->table_bytes);
  const double sums = b->nodes > 1 ? 2.0 * b->model_bytes * (ranks - 1.0) / ranks : 0.0;
  return waves * (walks + sums);
}

sb_plan_train sb_plan_train_of(const sb_plan_setup *asked, size_t batch) {
  sb_plan_setup setup = *asked;
  setup.source = SB_F32;
  setup.reorder = SB_REORDER_NONE;
  setup.fitted = false;
  const sb_plan_basis b = sb_plan_basis_of(&setup);
  const sb_plan_held held = sb_plan_held_of(&b);
  sb_plan_train t = {.shares = sb_share_sizes_even(setup.arch, &setup.blocking, setup.ranks),
                     .slots = held.slots,
                     .program = held.program + (double)b.sizes.blocks};
  t.shares.unified = setup.gpus_per_node == 0;
  t.pass = sb_plan_pass_of(&b, &(sb_plan_pass_needs){.local = sb_plan_local(&setup, batch),
                                                     .backward = true,
                                                     .gradients = true});
  const sb_wave_sizes w = sb_plan_wave_sizes(&b, t.pass.wave);
  const double used = (double)t.pass.wave * b.hidden_bytes * ((double)b.sizes.layers + 4.0),
               spare = (double)setup.input_bytes - used;
  t.kept = spare > 0 ? (double)sb_kept_states_bytes(&w, (size_t)spare) : 0.0;
  t.vocab = (double)(sb_vocab_bytes(&w, &(sb_vocab_needs){.head = true, .gradients = true}) -
                     sb_vocab_bytes(&w, &(sb_vocab_needs){.head = true}));
  t.masters = (double)t.shares.elements * sizeof(float) + (double)sb_shares_bytes(&t.shares);
  t.moments = (double)sb_optimizer_bytes(&t.shares);
  t.sums = (double)sb_gradient_sums_bytes(&t.shares);
  t.saving = 3.0 * sizeof(float) * (double)t.shares.elements; /* train/state_writer.c */
  const double own =
      t.masters + t.moments + t.sums + t.saving + t.pass.bytes + t.vocab + t.kept + t.program;
  t.rank_bytes = own + t.slots;
  t.node_bytes = own * (double)sb_plan_node_ranks(&setup) + t.slots;
  t.step_flops = 3.0 * (double)batch * sb_arch_forward_flops(setup.arch, setup.seqlen);
  t.sent = sent_bytes(&b, &t);
  return t;
}
