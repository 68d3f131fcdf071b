/* The arithmetic of plan: sums, limits, and cases worked out by hand. */
#include <math.h>

#include "plan/footprint.h"

#include "base/memory.h"
#include "tests/support/config_json.h"

static sb_arch arch;

static int make_arch(void **state) {
  (void)state;
  llama31_arch("{}", &arch);
  return 0;
}

static int free_arch(void **state) {
  (void)state;
  sb_arch_free(&arch);
  return 0;
}

static sb_footprint_setup setup(size_t ranks, size_t per_node) {
  return (sb_footprint_setup){.arch = &arch,
                              .source = SB_BF16,
                              .compute = SB_COMPUTE_BF16,
                              .ranks = ranks,
                              .ranks_per_node = per_node,
                              .threads = 8,
                              .seqs = 32,
                              .seqlen = 2048,
                              .block_rows = 128,
                              .block_cols = 128,
                              .wave_bytes = 1e12,
                              .widths = 7,
                              .bits = 3.0,
                              .round_seqs = 64};
}

/* Groups of a layer: rows x blocks of 128 columns; inputs of 4096 (q, k, v; o; gate, up) and 14336
 * channels (down). */
static const double groups_of_a_layer = 32 * (4096 + 2 * 1024 + 4096 + 2 * 14336.0) + 112 * 4096.0;

static void llama_8b_on_8_ranks(void **state) {
  (void)state;
  sb_footprint f;
  sb_footprint_setup s = setup(8, 4);
  sb_footprint_estimate(&s, &f);
  /* a layer: q, o 4096^2; k, v 1024 x 4096; gate, up, down 14336 x 4096; two norms */
  double linear = 2 * 4096.0 * 4096 + 2 * 1024.0 * 4096 + 3 * 14336.0 * 4096;
  assert_true(f.model_bytes == 2 * 8030261248.0);
  assert_true(f.blocks == 32 * (size_t)(2 * 32 * 32 + 2 * 8 * 32 + 3 * 112 * 32));
  assert_true(f.group_bytes ==
              2 * (linear + 2 * 4096)); /* larger than 8192 rows of the vocabulary */
  assert_true(f.slots == 2 * f.group_bytes);
  assert_true(f.prepared == 2 * linear + 8192.0 * 4096 * 2);
  assert_true(f.parameters == f.model_bytes / 8 + 128.0 * 14336 * 2);
  assert_true(f.inputs == 4 * 2048.0 * 4096 * 4 * (32 + 4)); /* 4 sequences a rank */
  assert_true(f.gradient == 4 * 14336.0 * 4096);
  assert_true(f.logits == 2048.0 * 8192 * 4);
  assert_true(f.nodes == 2 && f.local_seqs == 4 && f.wave == 4 && f.waves == 1);
  /* blocks of a layer 128 bytes, of the rank's own 96 + 64; the allocator */
  const double blocks = (double)f.blocks;
  assert_true(f.scores ==
              blocks / 32 * 128 + blocks / 8 * 160 + (11 << 20) + 18 * groups_of_a_layer);
  assert_true(f.importance == 0 && f.orders == 0 && f.order_scores == 0 && f.packed_slots == 0);
  assert_true(f.packed == (32 * linear * s.bits / 8 + f.model_bytes - 32 * linear * 2) / 8);
  assert_true(f.phase_bytes[SB_PHASE_REORDER] == 0 &&
              f.phase_bytes[SB_PHASE_ROUND] ==
                  f.parameters + f.bit_maps + f.program + f.slots + f.packed);
  double sum = f.parameters + f.slots + f.prepared + f.inputs + f.activations + f.gradient +
               f.logits + f.scores + f.bit_maps + f.program;
  assert_true(f.rank_bytes > sum - 1 && f.rank_bytes < sum + 1);
  assert_true(f.node_bytes > 4 * (sum - f.slots) + f.slots - 4 &&
              f.node_bytes < 4 * (sum - f.slots) + f.slots + 4);
  assert_true(f.loss_flops == 4 * sb_arch_forward_flops(&arch, 2048));
  /* each of 2 nodes gets each byte once a walk: the head and the embedding are walked too */
  assert_true(f.loss_traffic == f.model_bytes / 8 * 1);
}

static void one_node_sends_nothing(void **state) {
  (void)state;
  sb_footprint f;
  sb_footprint_setup s = setup(8, 8);
  sb_footprint_estimate(&s, &f);
  assert_true(f.nodes == 1 && f.loss_traffic == 0.0 && f.gradient_traffic == 0.0);
  s = setup(1, 1);
  sb_footprint_estimate(&s, &f);
  assert_true(f.parameters == f.model_bytes && f.slots == 0 && f.rank_bytes == f.node_bytes);
}

static void waves_follow_the_memory(void **state) {
  (void)state;
  sb_footprint f;
  sb_footprint_setup s = setup(4, 4);
  double each = 2048.0 * 4096 * 4 * 36;
  s.wave_bytes = 3.5 * each;
  sb_footprint_estimate(&s, &f);
  assert_true(f.local_seqs == 8 && f.wave == 3 && f.waves == 3 && f.inputs == 3 * each);
  s.wave_bytes = 1.0;
  sb_footprint_estimate(&s, &f);
  assert_true(f.wave == 1 && f.waves == 8);
  s.seqs = 2; /* fewer sequences than ranks */
  sb_footprint_estimate(&s, &f);
  assert_true(f.local_seqs == 1 && f.waves == 1);
}

/* One layer's rows and columns: q 4096 + 4096, k and v 1024 + 4096, o 8192, gate, up, down 14336 +
 * 4096. */
static void orders_of_channels(void **state) {
  (void)state;
  sb_footprint f, without;
  sb_footprint_setup s = setup(8, 4);
  const double sums = 2 * 8192.0 + 2 * 5120.0 + 3 * 18432.0,
               scores = 16 * 32 * sums / 8 + 48 * sums;
  sb_footprint_estimate(&s, &without);
  s.reorder = SB_REORDER_FUSED;
  sb_footprint_estimate(&s, &f);
  assert_true(f.orders == 8 * (4096 + 32 * (2 * 4096.0 + 2 * 1024.0 + 14336.0)) &&
              f.order_scores == scores);
  assert_true(f.phase_bytes[SB_PHASE_SEARCH] == without.rank_bytes + f.orders);
  assert_true(f.phase_bytes[SB_PHASE_REORDER] ==
              f.phase_bytes[SB_PHASE_SEARCH] - f.scores + scores);
  assert_true(f.rank_bytes == f.phase_bytes[f.largest]);
  s.reorder = SB_REORDER_INDEXED;
  sb_footprint_estimate(&s, &f);
  /* rows of all seven, columns of q, o, gate and down */
  const double channels = 2 * 4096.0 + 2 * 1024.0 + 2 * 14336.0 + 4096.0 + 3 * 4096.0 + 14336.0;
  assert_true(f.orders == 8 * 32 * channels && f.order_scores == scores);
  assert_true(f.prepared == without.prepared + 2 * 14336.0 * 4096 + 8 * sums);
  assert_true(f.activations == without.activations + 2 * 2048.0 * 14336 * 4);
}

static void fitted_grids(void **state) {
  (void)state;
  sb_footprint f, without;
  sb_footprint_setup s = setup(8, 4);
  const double groups = groups_of_a_layer;
  sb_footprint_estimate(&s, &without);
  s.fitted = true;
  sb_footprint_estimate(&s, &f);
  assert_true(f.importance == 4 * 32 * (3 * 4096.0 + 14336));
  assert_true(f.prepared == without.prepared + groups && f.scores == without.scores);
}

static void other_sensitivities(void **state) {
  (void)state;
  sb_footprint f;
  sb_footprint_setup s = setup(8, 4);
  const double groups = groups_of_a_layer, rows = 4096 + 2 * 1024 + 4096 + 2 * 14336.0 + 4096,
               triangle = 128 * 129 / 2;
  s.gains = SB_GAINS_DIAGONAL;
  sb_footprint_estimate(&s, &f);
  const double blocks = (double)f.blocks, layer = blocks / 32,
               search = blocks / 8 * 64 + (11 << 20);
  assert_true(f.scores ==
              search + layer * (16 * 7 * 1.125 + 144) + groups * 42 + blocks / 8 * (16 * 7 + 72));
  assert_true(f.gradient > 0);
  const double gradient_flops = f.gradient_flops;
  s.gains = SB_GAINS_HESSIAN;
  sb_footprint_estimate(&s, &f);
  const double elements = (3 * 32 + 112) * triangle + rows, tables = 72 * (blocks / 8 + layer / 8);
  assert_true(f.scores == search + 32 * elements + 4 * (112 * 128.0 * 128 + rows) + tables);
  assert_true(f.gradient == 0);
  assert_true(f.gradient_flops == gradient_flops - 4 * 2 * 2048.0 * (double)arch.linear_parameters);
  s.wave_bytes = 1; /* a sequence a wave: the sums of all layers wait for the last */
  sb_footprint_estimate(&s, &f);
  assert_true(f.waves == 4);
  assert_true(f.scores == search + 32 * elements + 4 * (112 * 128.0 * 128 + rows) + tables +
                              16 * elements * 32 / 8);
}

/* Of 32 sequences of 2048 tokens on 8 ranks. */
static void divergence(void **state) {
  (void)state;
  sb_footprint f, without, diagonal;
  sb_footprint_setup s = setup(8, 4);
  sb_footprint_estimate(&s, &without);
  s.gains = SB_GAINS_DIAGONAL;
  sb_footprint_estimate(&s, &diagonal);
  s.gains = SB_GAINS_DIVERGENCE;
  sb_footprint_estimate(&s, &f);
  const double head = 2.0 * 2048 * 4096 * (double)arch.config.vocab, chunk = f.logits;
  assert_true(f.local_seqs == 4 && f.wave == 4);
  assert_true(f.scores == fmax(without.scores, diagonal.scores) + 72 * (double)f.blocks / 8);
  assert_true(f.reference == 9 * 2048 * (2 * 4096.0 + 4) + 4 * 2048 * 16.0 + chunk);
  assert_true(f.loss_flops == without.loss_flops + 4 * head);
  assert_true(f.gradient_flops == without.gradient_flops + 8 * head);
  assert_true(f.phase_bytes[SB_PHASE_SEARCH] ==
              without.phase_bytes[SB_PHASE_SEARCH] + f.scores - without.scores + f.reference);
  s.check_seqs = 16;
  sb_footprint_estimate(&s, &f);
  assert_true(f.reference == 9 * 2048 * (2 * 4096.0 + 4) + 4 * 2048 * 16.0 + chunk +
                                 5 * 2048 * (2 * 4096.0 + 4) + 2 * 2048 * 16.0 + chunk);
}

/* 16 sequences on 8 ranks, whose inputs are kept one layer at a time. */
static void sequences_that_decide(void **state) {
  (void)state;
  sb_footprint f, without;
  sb_footprint_setup s = setup(8, 4);
  sb_footprint_estimate(&s, &without);
  s.check_seqs = 16;
  sb_footprint_estimate(&s, &f);
  const double inputs = 2 * 2048.0 * 4096 * 4;
  assert_true(f.check > f.prepared + 2 * inputs + f.logits);
  assert_true(f.check < f.prepared + 2 * inputs + f.logits + f.activations);
  assert_true(f.phase_bytes[SB_PHASE_SEARCH] == without.phase_bytes[SB_PHASE_SEARCH] + f.check);
  assert_true(f.check_waves == 1 && f.check_flops == 2 * sb_arch_forward_flops(&arch, 2048));
  assert_true(f.check_traffic == f.loss_traffic && f.loss_flops == without.loss_flops);
  s.wave_bytes = 1;
  const double both = f.check;
  sb_footprint_estimate(&s, &f);
  assert_true(f.check_waves == 2 && f.check == both - inputs && f.check_flops == f.loss_flops / 2);
}

/* 14336 channels are too many for a rank, so factors are distributed unless asked for otherwise. */
static void rounding(void **state) {
  (void)state;
  sb_footprint f;
  sb_footprint_setup s = setup(8, 4);
  const double linear = 2 * 4096.0 * 4096 + 2 * 1024.0 * 4096 + 3 * 14336.0 * 4096, h = 4096,
               i = 14336, squares = 3 * h * h + i * i, sequence = 2 * 2048 * (3 * h + i);
  s.gptq = true;
  sb_footprint_estimate(&s, &f);
  assert_true(f.factor == SB_FACTOR_DISTRIBUTED && f.round_local == 8);
  assert_true(f.packed == (32 * linear * 3 / 8 + f.model_bytes - 32 * linear * 2) / 8);
  assert_true(f.packed_slots == 2 * linear * 3 / 8);
  assert_true(f.round_prepared == 2 * 2 * linear);
  assert_true(f.round_inputs == (8 + 1) * 2048 * h * 4);
  assert_true(f.moments == 8 * (squares + i * i) / 8 + 16 * 512 * i + 8 * sequence);
  assert_true(f.block_rows == 2 * i * h / 8 * (5 + 20.0 / 128));
  assert_true(f.largest == SB_PHASE_SEARCH || f.largest == SB_PHASE_ROUND);
  assert_true(f.moment_flops == 8 * 32 * 2048 * squares);
  assert_true(f.factor_flops == 32 * (3 * h * h * h + i * i * i) * (2.0 / 3.0 / 8));
  assert_true(f.rounding_flops == 32 * ((3 * 4096 + 2 * 1024 - h + 2 * i) * h * h + h * i * i) / 8);
  assert_true(f.refine_flops == 0);
  const double moments = f.moments, rows = f.block_rows;
  s.refine = 6; /* passes over codes and scales, and one to begin with; moments in f32 and weights
                   are kept */
  sb_footprint_estimate(&s, &f);
  assert_true(f.refine_flops == 14 * f.rounding_flops);
  assert_true(f.moments == moments + 4 * squares / 8 && f.block_rows == rows + 4 * 2 * i * h / 8);
  s.refine = 0;
  s.factor = SB_FACTOR_REPLICATED;
  sb_footprint_estimate(&s, &f);
  assert_true(f.moments == 24 * squares);
  assert_true(f.moment_flops == 8 * 32 * 2 * 2048 * squares);
  s.threads = 1; /* one after another: the widest counts */
  sb_footprint_estimate(&s, &f);
  assert_true(f.moments == 16 * squares + 8 * i * i);
}

static void tuning(void **state) {
  (void)state;
  sb_footprint f, without;
  sb_footprint_setup s = setup(8, 4);
  const double linear = 2 * 4096.0 * 4096 + 2 * 1024.0 * 4096 + 3 * 14336.0 * 4096, h = 4096,
               T = 2048, table = 128256 * h;
  sb_footprint_estimate(&s, &without);
  assert_true(without.tune_steps == 0 && without.tune_flops == 0 &&
              without.phase_bytes[SB_PHASE_TUNE] == 0);
  s.tune_seqs = 64;
  s.tune_batch = 16;
  sb_footprint_estimate(&s, &f);
  assert_true(f.tune_local == 8 && f.tune_steps == 4 && f.tune_step_waves == 1);
  assert_true(f.packed == (32 * linear * 3 / 8 + f.model_bytes - 32 * linear * 2) / 8);
  assert_true(f.tune_inputs == 2 * T * h * 4 * 36);
  /* states and their log-sum-exps of 8 sequences and a spare one, and of a batch's two; logits once
   * more */
  assert_true(f.tune_reference == (8 + 1 + 2) * (T * h * 2 + T * 4) + 2 * T * 16 + T * 8192 * 4);
  assert_true(f.scales == (20 + 1) * groups_of_a_layer + 28 * groups_of_a_layer * 32 / 8);
  const double held = f.parameters + f.bit_maps + f.program + f.packed + f.slots + f.packed_slots,
               own = f.prepared + f.tune_inputs + f.activations + f.gradient + f.logits +
                     f.tune_reference + f.scales;
  assert_true(fabs(f.phase_bytes[SB_PHASE_TUNE] - held - own) < 1);
  /* the source once, and a batch's two sequences, with divergences, before and after */
  assert_true(f.tune_learn_flops == 12 * sb_arch_forward_flops(&arch, 2048) + 4 * 2 * T * table);
  assert_true(f.tune_flops == 8 * (sb_arch_gradient_flops(&arch, 2048) + 2 * 2 * T * table));
  /* two nodes: the source once; then each batch layers twice, head twice and embedding once, and 8
   * bytes a group; layers, head and embedding before and after all */
  const double packed = f.packed * 8 - 2 * 2 * table;
  assert_true(fabs(f.tune_traffic - (f.model_bytes + 2 * table) / 8 -
                   4 * (2 * packed + 3 * 2 * table) / 8 - 2 * (packed + 2 * 2 * table) / 8 -
                   4 * 8 * groups_of_a_layer * 32 * 7 / 8) < 16);
  s.wave_bytes = 1;
  sb_footprint_estimate(&s, &f);
  assert_true(f.tune_step_waves == 2 && f.tune_inputs == T * h * 4 * 36);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(llama_8b_on_8_ranks),
                                     cmocka_unit_test(one_node_sends_nothing),
                                     cmocka_unit_test(waves_follow_the_memory),
                                     cmocka_unit_test(orders_of_channels),
                                     cmocka_unit_test(fitted_grids),
                                     cmocka_unit_test(other_sensitivities),
                                     cmocka_unit_test(divergence),
                                     cmocka_unit_test(sequences_that_decide),
                                     cmocka_unit_test(rounding),
                                     cmocka_unit_test(tuning)};
  return cmocka_run_group_tests(tests, make_arch, free_arch);
}
