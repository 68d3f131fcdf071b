/* Training's `_bytes()` that plan sums, against what really is allocated, byte by byte; and the
 * even shares that a plan assumes, against those of a loaded model. */
#include "tests/support/allocations.h"
#include "tests/support/golden.h"

#include "plan/train.h"
#include "train/gradient_sums.h"
#include "train/optimizer.h"

static const sb_blocking blocking = {16, 32, SB_GRID_ASYMMETRIC};

static void same(const char *what, size_t said, size_t taken) {
  if (said != taken) print_error("%s: %zu bytes said, %zu taken\n", what, said, taken);
  EXPECT(said == taken);
}

static void check(const char *name) {
  char folder[1024];
  sb_backend *b = NULL;
  sb_model *m = NULL;
  sb_shares shares;
  sb_optimizer optimizer;
  sb_gradient_sums *sums = NULL;
  snprintf(folder, sizeof folder, "%s/tests/golden/%s", SB_SOURCE_DIR, name);
  EXPECT_OK(golden_backend(SB_COMPUTE_F32, 1, &b));
  EXPECT_OK(sb_hf_load_f32(&world, folder, blocking, &m));
  size_t before = sb_test_live_bytes();
  EXPECT_OK(sb_shares_create(m, &shares));
  sb_share_sizes sizes = sb_shares_sizes(&shares);
  sizes.unified = b->unified;
  same("shares", sb_shares_bytes(&sizes), sb_test_live_bytes() - before);
  before = sb_test_live_bytes();
  EXPECT_OK(sb_optimizer_create(&shares, &optimizer));
  same("optimizer", sb_optimizer_bytes(&sizes), sb_test_live_bytes() - before);
  before = sb_test_live_bytes();
  EXPECT_OK(sb_gradient_sums_create(&shares, b, 4, &sums));
  same("gradient sums", sb_gradient_sums_bytes(&sizes), sb_test_live_bytes() - before);

  const sb_share_sizes even = sb_share_sizes_even(&m->arch, &blocking, (size_t)world.size);
  const size_t unit = blocking.rows * m->config.intermediate;
  EXPECT(even.groups == sizes.groups && even.largest_group == sizes.largest_group);
  EXPECT(sizes.most_of_a_group <= even.most_of_a_group);
  EXPECT(sizes.elements <= even.elements + (world.size > 1 ? even.groups * unit : 0));
  if (world.size == 1) EXPECT(sizes.elements == even.elements && sizes.units == even.units);
  sb_gradient_sums_free(&sums);
  sb_optimizer_free(&optimizer);
  sb_shares_free(&shares);
  sb_model_free(&m);
  b->op->destroy(b);
}

static void tied(void **state) {
  (void)state;
  check("gqa-tied");
  all_ranks_passed();
}

static void untied(void **state) {
  (void)state;
  check("f32-single");
  all_ranks_passed();
}

/* More ranks need less of a rank for what is spread, and a node its sum. */
static void spread(void **state) {
  (void)state;
  sb_config config = {.vocab = 32000,
                      .hidden = 4096,
                      .intermediate = 11008,
                      .layers = 32,
                      .heads = 32,
                      .kv_heads = 32,
                      .head_dim = 128};
  sb_arch arch;
  double before = 0;
  EXPECT_OK(sb_arch_create_of(&sb_family_llama, &config, &arch));
  for (size_t ranks = 1; ranks <= 64; ranks *= 8) {
    const sb_plan_setup setup = {.arch = &arch,
                                 .source = SB_BF16,
                                 .ranks = ranks,
                                 .ranks_per_node = 8,
                                 .threads = 1,
                                 .seqlen = 2048,
                                 .blocking = {128, 128, SB_GRID_ASYMMETRIC},
                                 .input_bytes = (size_t)4 << 30};
    const sb_plan_train t = sb_plan_train_of(&setup, 64);
    const double state_bytes = t.masters + t.moments, each = 12.0 * (double)arch.parameters;
    EXPECT(state_bytes >= each / (double)ranks && state_bytes < 1.1 * each / (double)ranks);
    EXPECT(t.pass.local == 64 / ranks && (t.slots > 0) == (ranks > 1));
    EXPECT((t.sent > 0) == (ranks > 8));
    EXPECT(before == 0 || t.rank_bytes < before);
    before = t.rank_bytes;
  }
  sb_arch_free(&arch);
  all_ranks_passed();
}

static const struct CMUnitTest tests[] = {cmocka_unit_test(tied), cmocka_unit_test(untied),
                                          cmocka_unit_test(spread)};
RANKS_MAIN(tests)
