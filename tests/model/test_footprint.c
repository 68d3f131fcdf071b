/* The arithmetic of plan: sums, limits, and cases worked out by hand. */
#include "model/footprint.h"

#include "base/memory.h"
#include "tests/model/model_test.h"

static sb_arch arch;

static int make_arch(void **state) {
  (void)state;
  sb_config c;
  assert_ok(parse_config(llama31, "{}", false, &c));
  assert_ok(sb_arch_create(&c, &arch));
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
                              .gradients = true};
}

static void llama_8b_on_8_ranks(void **state) {
  (void)state;
  sb_footprint f;
  sb_footprint_setup s = setup(8, 4);
  sb_footprint_estimate(&s, &f);
  /* a layer: q, o 4096^2; k, v 1024 x 4096; gate, up, down 14336 x 4096; two norms */
  double linear = 2 * 4096.0 * 4096 + 2 * 1024.0 * 4096 + 3 * 14336.0 * 4096;
  assert_true(f.model_bytes == 2 * 8030261248.0);
  assert_true(f.blocks == 32 * (size_t)(2 * 32 * 32 + 2 * 8 * 32 + 3 * 112 * 32));
  assert_true(f.group_bytes == 2 * (linear + 2 * 4096)); /* larger than 8192 rows of the vocabulary */
  assert_true(f.slots == 2 * f.group_bytes);
  assert_true(f.prepared == 2 * linear + 8192.0 * 4096 * 2);
  assert_true(f.parameters == f.model_bytes / 8 + 128.0 * 14336 * 2);
  assert_true(f.inputs == 4 * 2048.0 * 4096 * 4 * (32 + 4)); /* 4 sequences a rank */
  assert_true(f.gradient == 4 * 14336.0 * 4096);
  assert_true(f.logits == 2048.0 * 8192 * 4);
  assert_true(f.nodes == 2 && f.local_seqs == 4 && f.wave == 4 && f.waves == 1);
  double sum = f.parameters + f.slots + f.prepared + f.inputs + f.activations + f.gradient + f.logits +
               f.scores + f.bit_maps + f.program;
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
  assert_true(f.parameters == f.model_bytes && f.rank_bytes == f.node_bytes);
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

/* One layer's rows and columns: q 4096 + 4096, k and v 1024 + 4096, o 8192, gate, up, down 14336 + 4096. */
static void orders_of_channels(void **state) {
  (void)state;
  sb_footprint f;
  sb_footprint_setup s = setup(8, 4);
  const double sums = 2 * 8192.0 + 2 * 5120.0 + 3 * 18432.0, scores = 16 * 32 * sums / 8 + 48 * sums;
  sb_footprint_estimate(&s, &f);
  const double without = f.rank_bytes;
  assert_true(f.orders == 0);
  s.reorder = SB_REORDER_FUSED;
  sb_footprint_estimate(&s, &f);
  assert_true(f.orders == 8 * (4096 + 32 * (2 * 4096.0 + 2 * 1024.0 + 14336.0)) + scores);
  assert_true(f.rank_bytes == without + f.orders);
  s.reorder = SB_REORDER_INDEXED;
  sb_footprint_estimate(&s, &f);
  /* rows of all seven, columns of q, o, gate and down */
  const double channels = 2 * 4096.0 + 2 * 1024.0 + 2 * 14336.0 + 4096.0 + 3 * 4096.0 + 14336.0;
  assert_true(f.orders ==
              8 * 32 * channels + scores + 2 * 14336.0 * 4096 + 8 * sums + 2 * 2048.0 * 14336 * 4);
}

static void seconds(void **state) {
  (void)state;
  sb_footprint_setup s = setup(8, 4);
  assert_true(sb_footprint_seconds(&s, 1e12, 1e9, 1e11, 1e9) == 10.0);  /* arithmetic 10 s, messages 4 s */
  assert_true(sb_footprint_seconds(&s, 1e12, 1e10, 1e11, 1e9) == 40.0); /* 4 ranks share the node's 1 GB/s */
  assert_true(sb_footprint_seconds(&s, 1e12, 1e10, 1e11, 0.0) == 10.0);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(llama_8b_on_8_ranks),
                                     cmocka_unit_test(one_node_sends_nothing),
                                     cmocka_unit_test(waves_follow_the_memory),
                                     cmocka_unit_test(orders_of_channels), cmocka_unit_test(seconds)};
  return cmocka_run_group_tests(tests, make_arch, free_arch);
}
