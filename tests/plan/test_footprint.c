/* The arithmetic of plan: sums, limits, and cases worked out by hand. */
#include <math.h>

#include "alloc/core.h"
#include "kernels/shared/grid_types.h"
#include "plan/footprint.h"
#include "quant/encode.h"

#include "base/memory.h"
#include "tests/plan/arch_fixture.h"

static sb_plan_setup setup(size_t ranks, size_t per_node) {
  return (sb_plan_setup){.arch = &arch,
                         .source = SB_BF16,
                         .compute = SB_COMPUTE_BF16,
                         .ranks = ranks,
                         .ranks_per_node = per_node,
                         .threads = 8,
                         .blocking = {128, 128, SB_GRID_ASYMMETRIC},
                         .bits = 3.0,
                         .seqlen = 2048,
                         .input_bytes = (size_t)1 << 40,
                         .search = {.seqs = 32,
                                    .estimator = SB_ESTIMATOR_FISHER,
                                    .widths = 7,
                                    .strides = 2,
                                    .trades = 8},
                         .round = {.seqs = 64}};
}

/* Buffers of a few bytes are summed too: within a millionth, and the larger of these. */
static void near(double a, double b) {
  if (!(fabs(a - b) <= 1e-6 * fabs(b) + 4096)) fail_msg("%.17g is not near %.17g", a, b);
}

/* Inputs of `count` sequences of 2048 tokens in a pass of the 32 layers: f32 inputs of each,
 * what leaves the last, gradients of states before and after the final norm; its operands;
 * per token its ids (16 bytes), the norm (4) and its loss (36); the norm's weights twice, their
 * gradient. Forward alone, one layer's. */
static double inputs_of(double count) {
  return count * 2048 * (4096 * (4.0 * 35 + 2) + 56) + 3 * 4096 * 4;
}
static double forward_inputs_of(double count) {
  return count * 2048 * (4096 * (4.0 + 2) + 56) + 2 * 4096 * 4;
}

/* What the search and its allocator hold of a rank's blocks: what they are (17 bytes), bits and
 * gains (19), a step's start, end and three choices each (59), and the core of a knapsack. */
static double search_bytes(double owned) {
  return owned * (17 + 19 + 59) + (double)sb_core_bytes(128);
}

/* Groups of a layer: rows x blocks of 128 columns; inputs of 4096 (q, k, v; o; gate, up) and 14336
 * channels (down). */
static const double groups_of_a_layer = 32 * (4096 + 2 * 1024 + 4096 + 2 * 14336.0) + 112 * 4096.0;

static void llama_8b_on_8_ranks(void **state) {
  (void)state;
  sb_footprint f;
  sb_plan_setup s = setup(8, 4);
  sb_footprint_estimate(&s, &f);
  /* a layer: q, o 4096^2; k, v 1024 x 4096; gate, up, down 14336 x 4096; two norms */
  double linear = 2 * 4096.0 * 4096 + 2 * 1024.0 * 4096 + 3 * 14336.0 * 4096;
  assert_true(f.model_bytes == 2 * 8030261248.0);
  assert_true(f.blocks == 32 * (size_t)(2 * 32 * 32 + 2 * 8 * 32 + 3 * 112 * 32));
  assert_true(f.group_bytes ==
              2 * (linear + 2 * 4096)); /* larger than 8192 rows of the vocabulary */
  assert_true(f.held.slots == 2 * f.group_bytes);
  near(f.search.pass.prepared, 2 * linear + groups_of_a_layer + 8192.0 * 4096 * 2 + 3 * 4096 * 4);
  assert_true(f.held.parameters == f.model_bytes / 8 + 128.0 * 14336 * 2);
  near(f.search.pass.inputs, inputs_of(4)); /* sequences of a rank */
  assert_true(f.search.pass.gradient == 4 * 14336.0 * 4096);
  assert_true(f.search.pass.logits == 2048.0 * 8192 * 4);
  assert_true(f.nodes == 2 && f.search.pass.local == 4 && f.search.pass.wave == 4 &&
              f.search.pass.waves == 1);
  /* four exact sums per block of a layer, of the rank's part of it, and of its own blocks, whose
   * moves and bits are 33 bytes; three grids per group, of one layer: all would be too many */
  const double layer = (double)f.blocks / 32, owned = (double)f.blocks / 8;
  near(f.search.scores, layer * (64 + 33) + layer / 8 * 64 + owned * (64 + 33) +
                            18 * groups_of_a_layer + search_bytes(owned));
  assert_true(f.held.importance == 0 && f.held.orders == 0 && f.reorder.scores == 0 &&
              f.packed.slots == 0);
  assert_true(f.packed.model == (32 * linear * s.bits / 8 + f.model_bytes - 32 * linear * 2) / 8);
  assert_true(f.phase_bytes[SB_PHASE_REORDER] == 0 &&
              f.phase_bytes[SB_PHASE_ROUND] == f.held.bytes + f.held.slots + f.packed.model);
  double sum = f.held.parameters + f.held.slots + f.search.pass.prepared + f.search.pass.inputs +
               f.search.pass.activations + f.search.pass.gradient + f.search.pass.logits +
               f.search.scores + f.held.bit_maps + f.held.program;
  assert_true(f.rank_bytes > sum - 1 && f.rank_bytes < sum + 1);
  assert_true(f.node_bytes > 4 * (sum - f.held.slots) + f.held.slots - 4 &&
              f.node_bytes < 4 * (sum - f.held.slots) + f.held.slots + 4);
  assert_true(f.search.loss_flops == 4 * sb_arch_forward_flops(&arch, 2048));
  /* each of 2 nodes gets each byte once a walk: the head and the embedding are walked too */
  assert_true(f.search.loss_sent == f.model_bytes / 8 * 1);
}

static void one_node_sends_nothing(void **state) {
  (void)state;
  sb_footprint f;
  sb_plan_setup s = setup(8, 8);
  sb_footprint_estimate(&s, &f);
  assert_true(f.nodes == 1 && f.search.loss_sent == 0.0 && f.search.gradient_sent == 0.0);
  s = setup(1, 1);
  sb_footprint_estimate(&s, &f);
  assert_true(f.held.parameters == f.model_bytes && f.held.slots == 0 &&
              f.rank_bytes == f.node_bytes);
}

static void waves_follow_the_memory(void **state) {
  (void)state;
  sb_footprint f;
  sb_plan_setup s = setup(4, 4);
  double each = 2048.0 * 4096 * 4 * 36;
  s.input_bytes = (size_t)(3.5 * each);
  sb_footprint_estimate(&s, &f);
  assert_true(f.search.pass.local == 8 && f.search.pass.wave == 3 && f.search.pass.waves == 3);
  near(f.search.pass.inputs, inputs_of(3));
  s.input_bytes = 1;
  sb_footprint_estimate(&s, &f);
  assert_true(f.search.pass.wave == 1 && f.search.pass.waves == 8);
  s.search.seqs = 2; /* fewer sequences than ranks */
  sb_footprint_estimate(&s, &f);
  assert_true(f.search.pass.local == 1 && f.search.pass.waves == 1);
}

/* One layer's rows and columns: q 4096 + 4096, k and v 1024 + 4096, o 8192,
 * gate, up, down 14336 + 4096. */
static void orders_of_channels(void **state) {
  (void)state;
  sb_footprint f, without;
  sb_plan_setup s = setup(8, 4);
  const double sums = 2 * 8192.0 + 2 * 5120.0 + 3 * 18432.0,
               scores = 16 * 33 * sums / 8 + 32 * sums;
  sb_footprint_estimate(&s, &without);
  s.reorder = SB_REORDER_FUSED;
  sb_footprint_estimate(&s, &f);
  assert_true(f.held.orders == 8 * (4096 + 32 * (2 * 4096.0 + 2 * 1024.0 + 14336.0)));
  near(f.reorder.scores, scores);
  near(f.phase_bytes[SB_PHASE_SEARCH], without.rank_bytes + f.held.orders);
  near(f.phase_bytes[SB_PHASE_REORDER], f.phase_bytes[SB_PHASE_SEARCH] - f.search.scores + scores);
  assert_true(f.rank_bytes == f.phase_bytes[f.largest]);
  s.reorder = SB_REORDER_INDEXED;
  sb_footprint_estimate(&s, &f);
  /* rows of all seven, columns of q, o, gate and down */
  const double channels = 2 * 4096.0 + 2 * 1024.0 + 2 * 14336.0 + 4096.0 + 3 * 4096.0 + 14336.0;
  assert_true(f.held.orders == 8 * 32 * channels);
  near(f.reorder.scores, scores);
  assert_true(f.search.pass.prepared ==
              without.search.pass.prepared + 2 * 14336.0 * 4096 + 8 * sums);
  assert_true(f.search.pass.activations ==
              without.search.pass.activations + 2 * 2048.0 * 14336 * 4);
}

static void fitted_grids(void **state) {
  (void)state;
  sb_footprint f, without;
  sb_plan_setup s = setup(8, 4);
  sb_footprint_estimate(&s, &without);
  s.fitted = true;
  sb_footprint_estimate(&s, &f);
  assert_true(f.held.importance == 4 * 32 * (3 * 4096.0 + 14336));
  assert_true(f.search.pass.prepared == without.search.pass.prepared); /* room for fits anyway */
  s.fitted = false;
  s.blocking.code_kind = SB_TRELLIS_12;
  sb_footprint trellis;
  sb_footprint_estimate(&s, &trellis);
  assert_true(trellis.held.factors == 4 * 32 * (3 * 4096.0 + 14336) && f.held.factors == 0);
  assert_true(f.search.scores == without.search.scores);
}

static void other_sensitivities(void **state) {
  (void)state;
  sb_footprint f;
  sb_plan_setup s = setup(8, 4);
  const double groups = groups_of_a_layer, rows = 4096 + 2 * 1024 + 4096 + 2 * 14336.0 + 4096,
               triangle = 128 * 129 / 2;
  s.search.estimator = SB_ESTIMATOR_DIAGONAL;
  sb_footprint_estimate(&s, &f);
  const double layer = (double)f.blocks / 32, owned = (double)f.blocks / 8,
               search = search_bytes(owned) + owned;
  near(f.search.scores,
       search + layer * (16 * 7 * 1.125 + 144) + groups * 42 + owned * (16 * 7 + 72));
  assert_true(f.search.pass.gradient > 0);
  const double gradient_flops = f.search.gradient_flops;
  s.search.estimator = SB_ESTIMATOR_HESSIAN;
  sb_footprint_estimate(&s, &f);
  const double elements = (3 * 32 + 112) * triangle + rows, tables = 72 * (owned + layer / 8);
  /* the sums, MPI's copy of them, and f32 of the widest input and the longest output */
  const double at_once = search + 32 * elements + 4 * (112 * 128.0 * 128 + 14336) + tables;
  near(f.search.scores, at_once);
  assert_true(f.search.pass.gradient == 0);
  assert_true(f.search.gradient_flops ==
              gradient_flops - 4 * 2 * 2048.0 * (double)arch.linear_parameters);
  s.input_bytes = 1; /* a sequence a wave: the sums of all layers wait for the last */
  sb_footprint_estimate(&s, &f);
  assert_true(f.search.pass.waves == 4);
  near(f.search.scores, at_once + 16 * elements * 33 / 8);
}

/* Of 32 sequences of 2048 tokens on 8 ranks. */
static void divergence(void **state) {
  (void)state;
  sb_footprint f, without, diagonal;
  sb_plan_setup s = setup(8, 4);
  sb_footprint_estimate(&s, &without);
  s.search.estimator = SB_ESTIMATOR_DIAGONAL;
  sb_footprint_estimate(&s, &diagonal);
  s.search.estimator = SB_ESTIMATOR_DIVERGENCE;
  sb_footprint_estimate(&s, &f);
  const double head = 2.0 * 2048 * 4096 * (double)arch.config.vocab, chunk = f.search.pass.logits;
  assert_true(f.search.pass.local == 4 && f.search.pass.wave == 4);
  /* costs of widths beside the larger of two estimators, one after the other */
  near(f.search.scores,
       fmax(without.search.scores, diagonal.search.scores) + 72 * (double)f.blocks / 8);
  assert_true(f.search.pass.reference == 9 * 2048 * (2 * 4096.0 + 4) + 4 * 2048 * 16.0 + chunk);
  assert_true(f.search.loss_flops == without.search.loss_flops + 4 * head);
  assert_true(f.search.gradient_flops == without.search.gradient_flops + 8 * head);
  near(f.phase_bytes[SB_PHASE_SEARCH], without.phase_bytes[SB_PHASE_SEARCH] + f.search.scores -
                                           without.search.scores + f.search.pass.reference);
  s.search.check_seqs = 16;
  sb_footprint_estimate(&s, &f);
  assert_true(f.search.check.reference == 5 * 2048 * (2 * 4096.0 + 4) + 2 * 2048 * 16.0 + chunk);
}

/* 16 sequences on 8 ranks, whose inputs are kept one layer at a time. */
static void sequences_that_decide(void **state) {
  (void)state;
  sb_footprint f, without;
  sb_plan_setup s = setup(8, 4);
  sb_footprint_estimate(&s, &without);
  s.search.check_seqs = 16;
  sb_footprint_estimate(&s, &f);
  const double others = f.search.pass.prepared + f.search.pass.logits;
  near(f.search.check.inputs, forward_inputs_of(2));
  assert_true(f.search.check.bytes > others + f.search.check.inputs);
  assert_true(f.search.check.bytes < others + f.search.check.inputs + f.search.pass.activations);
  assert_true(f.phase_bytes[SB_PHASE_SEARCH] ==
              without.phase_bytes[SB_PHASE_SEARCH] + f.search.check.bytes);
  assert_true(f.search.check.waves == 1 &&
              f.search.check_flops == 2 * sb_arch_forward_flops(&arch, 2048));
  assert_true(f.search.check_sent == f.search.loss_sent &&
              f.search.loss_flops == without.search.loss_flops);
  s.input_bytes = 1;
  const double both = f.search.check.bytes;
  sb_footprint_estimate(&s, &f);
  assert_true(f.search.check.waves == 2 && f.search.check_flops == f.search.loss_flops / 2);
  near(f.search.check.bytes, both - (forward_inputs_of(2) - forward_inputs_of(1)));
}

/* 14336 channels are too many for a rank, so factors are distributed unless asked for otherwise. */
static void rounding(void **state) {
  (void)state;
  sb_footprint f;
  sb_plan_setup s = setup(8, 4);
  const double linear = 2 * 4096.0 * 4096 + 2 * 1024.0 * 4096 + 3 * 14336.0 * 4096, h = 4096,
               i = 14336, squares = 3 * h * h + i * i, sequence = 2 * 2048 * (3 * h + i);
  s.round.gptq = true;
  sb_footprint_estimate(&s, &f);
  assert_true(f.round.factor == SB_FACTOR_DISTRIBUTED && f.round.local == 8);
  assert_true(f.packed.model == (32 * linear * 3 / 8 + f.model_bytes - 32 * linear * 2) / 8);
  assert_true(f.packed.slots == 2 * linear * 3 / 8);
  /* a layer twice, as it is and rounded; inputs of 8 sequences, and the output of one */
  near(f.round.prepared, 2 * (2 * linear + groups_of_a_layer + 3 * h * 4));
  assert_true(f.round.inputs == 9 * 2048 * h * 4);
  near(f.round.moments, 8 * (squares + i * i) / 8 + 16 * 512 * i + 8 * sequence);
  /* weights left, codes; bits here and there, and the grid of each group */
  near(f.round.block_rows, 2 * i * h / 8 * (5 + (2.0 + sizeof(sb_grid)) / 128));
  assert_true(f.largest == SB_PHASE_SEARCH || f.largest == SB_PHASE_ROUND);
  assert_true(f.round.moment_flops == 8 * 32 * 2048 * squares);
  assert_true(f.round.factor_flops == 32 * (3 * h * h * h + i * i * i) * (2.0 / 3.0 / 8));
  assert_true(f.round.rounding_flops ==
              32 * ((3 * 4096 + 2 * 1024 - h + 2 * i) * h * h + h * i * i) / 8);
  assert_true(f.round.refine_flops == 0);
  const double moments = f.round.moments, rows = f.round.block_rows;
  s.round.refine = 6; /* passes over codes and scales, and one to begin with; moments in f32 and
                   weights are kept */
  sb_footprint_estimate(&s, &f);
  assert_true(f.round.refine_flops == 14 * f.round.rounding_flops);
  near(f.round.moments, moments + 4 * squares / 8);
  near(f.round.block_rows, rows + 4 * 2 * i * h / 8);
  s.round.refine = 0;
  s.round.factor = SB_FACTOR_REPLICATED;
  sb_footprint_estimate(&s, &f);
  near(f.round.moments, 24 * squares);
  assert_true(f.round.moment_flops == 8 * 32 * 2 * 2048 * squares);
  s.threads = 1; /* one after another: the widest counts */
  sb_footprint_estimate(&s, &f);
  near(f.round.moments, 16 * squares + 8 * i * i);
}

/* Embedding and head of 128256 rows: 8 MiB chunks of 8192, whose factors are one rank's. */
static void rounding_tables(void **state) {
  (void)state;
  sb_footprint f, without;
  sb_plan_setup s = setup(8, 4);
  const double h = 4096, chunk = 8192 / 8 * h;
  s.round.gptq = true;
  sb_footprint_estimate(&s, &without);
  assert_true(without.round.tables == 0);
  s.tables.bits[0] = s.tables.bits[1] = 5;
  s.threads = 1;
  sb_footprint_estimate(&s, &f);
  /* sums and factor; then, in one place, the moments as they are given, in f64, or a chunk's rows
   */
  near(f.round.tables, 12 * h * h + 8 * h * h);
  near(f.round.factor_flops, without.round.factor_flops + 2 * h * h * h * 4 / 3);
  near(f.round.rounding_flops, without.round.rounding_flops + 2 * 128256 * h * h / 8);
  s.round.table_refine = 6;
  sb_footprint_estimate(&s, &f);
  near(f.round.tables, 16 * h * h + 8 * h * h);
  near(f.round.refine_flops, 14 * 2 * 128256 * h * h / 8);
  s.ranks = s.ranks_per_node = 1; /* now the rows are more: 64 block rows */
  sb_footprint_estimate(&s, &f);
  near(f.round.tables, 16 * h * h + 8 * chunk * (9 + (2.0 + sizeof(sb_grid)) / 128) +
                           64 * (sizeof(sb_encode_row) + 8.0));
  const double layers = f.round.prepared + f.round.inputs + f.round.activations + f.round.moments +
                        f.round.block_rows;
  assert_true(f.round.bytes == f.packed.model + fmax(layers, f.round.tables));
}

static void tuning(void **state) {
  (void)state;
  sb_footprint f, without;
  sb_plan_setup s = setup(8, 4);
  const double linear = 2 * 4096.0 * 4096 + 2 * 1024.0 * 4096 + 3 * 14336.0 * 4096, h = 4096,
               T = 2048, table = 128256 * h;
  sb_footprint_estimate(&s, &without);
  assert_true(without.tune.steps == 0 && without.tune.step_flops == 0 &&
              without.phase_bytes[SB_PHASE_TUNE] == 0);
  s.tune.epochs = 1;
  s.tune.seqs = 64;
  s.tune.batch = 16;
  sb_footprint_estimate(&s, &f);
  assert_true(f.tune.local == 8 && f.tune.steps == 4 && f.tune.pass.waves == 1);
  assert_true(f.packed.model == (32 * linear * 3 / 8 + f.model_bytes - 32 * linear * 2) / 8);
  near(f.tune.pass.inputs, inputs_of(2));
  /* states and their log-sum-exps of 8 sequences and a spare one, and of a batch's
   * two; logits once more */
  assert_true(f.tune.pass.reference ==
              (8 + 1 + 2) * (T * h * 2 + T * 4) + 2 * T * 16 + T * 8192 * 4);
  near(f.tune.scales, (20 + 1) * groups_of_a_layer + 28 * groups_of_a_layer * 32 / 8);
  const double held = f.held.parameters + f.held.bit_maps + f.held.program + f.packed.model +
                      f.held.slots + f.packed.slots,
               own = f.search.pass.prepared + f.tune.pass.inputs + f.search.pass.activations +
                     f.search.pass.gradient + f.search.pass.logits + f.tune.pass.reference +
                     f.tune.scales;
  assert_true(fabs(f.phase_bytes[SB_PHASE_TUNE] - held - own) < 1);
  /* the source once, and a batch's two sequences, with divergences, before and after */
  assert_true(f.tune.learn_flops == 12 * sb_arch_forward_flops(&arch, 2048) + 4 * 2 * T * table);
  assert_true(f.tune.step_flops == 8 * (sb_arch_gradient_flops(&arch, 2048) + 2 * 2 * T * table));
  /* two nodes: the source once; then each batch layers twice, head twice and embedding once, and 8
   * bytes per group; layers, head and embedding before and after all */
  const double packed = f.packed.model * 8 - 2 * 2 * table;
  assert_true(fabs(f.tune.sent - (f.model_bytes + 2 * table) / 8 -
                   4 * (2 * packed + 3 * 2 * table) / 8 - 2 * (packed + 2 * 2 * table) / 8 -
                   4 * 8 * groups_of_a_layer * 32 * 7 / 8) < 16);
  s.input_bytes = 1;
  sb_footprint_estimate(&s, &f);
  assert_true(f.tune.pass.waves == 2);
  near(f.tune.pass.inputs, inputs_of(1));
}

/* Embedding and LM head of 128256 x 4096, 1002 rows of blocks: a group has its codes, a scale and a
 * zero point; a row of 32 blocks a map of 32 bytes. */
static double table_bytes(unsigned bits) {
  return 128256.0 * (4096.0 * bits + 32.0 * (16 + bits)) / 8 + 1002.0 * 32;
}

static void coded_tables(void **state) {
  (void)state;
  sb_footprint f, without;
  sb_plan_setup s = setup(8, 4);
  s.fitted = s.round.gptq = true;
  sb_footprint_estimate(&s, &without);
  assert_true(without.phase_bytes[SB_PHASE_TABLES] == 0 && without.tables.sent == 0);
  s.tables.bits[0] = 4;
  s.tables.bits[1] = 6;
  s.tables.measured = true;
  sb_footprint_estimate(&s, &f);
  const double source = 2 * 128256.0 * 4096 * 2;
  near(f.packed.model, without.packed.model + (table_bytes(4) + table_bytes(6) - source) / 8);
  near(f.file_bytes, 8 * f.packed.model);
  near(f.file_bits, 8 * f.file_bytes / 8030261248.0);
  near(f.held.importance, without.held.importance + 2 * 4096 * 4);
  /* a chunk of the embedding is f32, where rows of the head in bf16 had room; the fits that are
   * kept of both tables, a byte for each group, and the widths that they are of, one for each
   * block */
  near(f.search.pass.prepared,
       without.search.pass.prepared + 8192.0 * 4096 * 2 + 2.0 * (128256 + 1002) * 32);
  /* second moments of all pairs of channels: two exact sums of 16 bytes and one in double; what
   * belongs to words is small beside them */
  assert_true(f.tables.statistics > 20.0 * 4096 * 4096 && f.tables.statistics < 21.0 * 4096 * 4096);
  near(f.phase_bytes[SB_PHASE_TABLES],
       f.held.bytes + f.held.slots + f.tables.pass.bytes + f.tables.statistics);
  /* two walks through the layers, three chunk by chunk through the vocabulary, to the other node */
  near(f.tables.sent, (2 * (f.model_bytes - source) + 3 * source / 2) / 8 + 16.0 * 4096 * 4096);
  const double statistics = f.tables.statistics;
  s.tables.chosen = true; /* costs of widths, of all blocks of the rank, come on top */
  sb_footprint_estimate(&s, &f);
  assert_true(f.tables.statistics > statistics + (double)(f.blocks + 2 * 1002 * 32) * 7);
  s.tables.bits[0] = 0; /* as it is */
  sb_footprint_estimate(&s, &f);
  near(f.packed.model, without.packed.model + (table_bytes(6) - source / 2) / 8);
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
                                     cmocka_unit_test(rounding_tables),
                                     cmocka_unit_test(tuning),
                                     cmocka_unit_test(coded_tables)};
  return cmocka_run_group_tests(tests, make_arch, free_arch);
}
