/* Every `_bytes()` that plan sums, against what really is allocated: on tiny
 * models, byte by byte. */
#include "tests/support/golden.h"

#include "alloc/choose_blocks.h"
#include "alloc/core.h"
#include "alloc/owned.h"
#include "model/config_read.h"
#include "model/sizes.h"
#include "pass/kept_states.h"
#include "pass/layerwise.h"
#include "plan/gradient_pass.h"
#include "quant/encode.h"
#include "quant/scale_gradients.h"
#include "quant/scales.h"
#include "sensitivity/block_sums.h"
#include "sensitivity/channels.h"
#include "sensitivity/diagonal.h"
#include "sensitivity/gains.h"
#include "sensitivity/kronecker.h"
#include "sensitivity/scores.h"
#include "tests/alloc/instance.h"
#include "tests/support/compare_bytes.h"
#include "tests/support/random_orders.h"

enum { LEAST = 1, MOST = 5, WIDTHS = MOST - LEAST + 1 };

static const golden_setup whole = {.name = "gqa-tied", .gradients = true, GOLDEN_DEFAULTS};
static const golden_setup single = {.name = "mha-untied",
                                    .gradients = true,
                                    .threads = 1,
                                    .blocking = {16, 32, SB_GRID_ASYMMETRIC}};

/* The model with mixed bits. The backend keeps the scratch of its kernels, so
 * each is called once. */
static void open_warm(golden *g, const golden_setup *setup) {
  sb_loss_table *table = NULL;
  double loss;
  golden_open(g, setup);
  golden_mixed_bits(g->model, LEAST, MOST, 7);
  for (int i = 0; i < 2; i++) {
    const sb_estimator estimator = i == 0 ? SB_ESTIMATOR_HESSIAN : SB_ESTIMATOR_DIAGONAL;
    EXPECT_OK(sb_loss_table_create(g->model, g->backend, estimator, LEAST, MOST, &table));
    EXPECT_OK(sb_loss_table_measure(table, g->pass, false, &loss));
    sb_loss_table_free(&table);
  }
}

static const sb_orders *indexed_orders(const char *name, sb_orders *out) {
  char folder[1024];
  sb_config config;
  sb_arch arch = {0};
  snprintf(folder, sizeof folder, "%s/tests/golden/%s", SB_SOURCE_DIR, name);
  EXPECT_OK(sb_config_read(folder, &config));
  EXPECT_OK(sb_arch_create(&config, &arch));
  EXPECT_OK(random_indexed(&arch, whole.blocking.rows, whole.blocking.cols, 5, out));
  sb_arch_free(&arch);
  return out;
}

static void block_sums(void **state) {
  (void)state;
  golden g;
  sb_block_sums *sums = NULL;
  open_warm(&g, &whole);
  const sb_sizes sizes = sb_model_sizes(g.model);
  for (size_t each = 1; each <= 4; each += 3) {
    const size_t before = sb_test_live_bytes();
    EXPECT_OK(sb_block_sums_create(g.model, each, &sums));
    compare("block sums", sb_block_sums_bytes(&sizes, each), sb_test_live_bytes() - before, 0);
    sb_block_sums_free(&sums);
    EXPECT(sb_test_live_bytes() == before);
  }
  golden_close(&g);
  all_ranks_passed();
}

static void scores(void **state) {
  (void)state;
  golden g;
  sb_scores *made = NULL;
  double loss;
  open_warm(&g, &whole);
  const sb_sizes sizes = sb_model_sizes(g.model);
  const size_t before = sb_test_live_bytes();
  EXPECT_OK(sb_scores_create(g.model, g.backend, LEAST, MOST, &made));
  EXPECT_OK(sb_scores_measure(made, g.pass, &loss));
  compare("scores", sb_scores_bytes(&sizes), sb_test_live_bytes() - before, 0);
  sb_scores_free(&made);
  golden_close(&g);
  all_ranks_passed();
}

static void diagonal(void **state) {
  (void)state;
  golden g;
  sb_diagonal *made = NULL;
  open_warm(&g, &whole);
  const sb_sizes sizes = sb_model_sizes(g.model);
  const size_t before = sb_test_live_bytes();
  EXPECT_OK(sb_diagonal_create(g.model, g.backend, LEAST, MOST, &made));
  compare("diagonal", sb_diagonal_bytes(&sizes, WIDTHS), sb_test_live_bytes() - before, 0);
  sb_diagonal_free(&made);
  golden_close(&g);
  all_ranks_passed();
}

/* With one wave, and with a wave for each sequence, whose sums wait for each other. */
static void kronecker(void **state) {
  (void)state;
  const golden_setup *const setups[] = {&whole, &single};
  for (int i = 0; i < 2; i++) {
    golden g;
    sb_kronecker *made = NULL;
    double loss;
    open_warm(&g, setups[i]);
    const sb_sizes sizes = sb_model_sizes(g.model);
    const bool several = sb_pass_waves(g.pass) > 1;
    sb_losses *losses = calloc(sizes.owned + 1, sizeof *losses);
    const size_t before = sb_test_live_bytes();
    EXPECT_OK(sb_kronecker_create(g.model, g.backend, LEAST, MOST, &made));
    EXPECT_OK(sb_kronecker_measure(made, g.pass, losses, &loss));
    EXPECT(several == (i == 1 && world.size == 1)); /* of two sequences */
    compare("kronecker", sb_kronecker_bytes(&sizes, several), sb_test_live_bytes() - before, 0);
    sb_kronecker_free(&made);
    free(losses);
    golden_close(&g);
  }
  all_ranks_passed();
}

/* Of each estimator, from its creation to its measurement. */
static void gains(void **state) {
  (void)state;
  for (int e = 0; sb_estimator_names[e]; e++)
    for (int costs = 0; costs < 2; costs++) {
      golden g;
      golden_setup setup = whole;
      sb_gains *made = NULL;
      double loss;
      const sb_estimator estimator = (sb_estimator)e;
      setup.divergence = estimator == SB_ESTIMATOR_DIVERGENCE;
      open_warm(&g, &setup);
      const sb_sizes sizes = sb_model_sizes(g.model);
      double *raise = calloc(sizes.owned + 1, sizeof *raise);
      double *cut = calloc(sizes.owned + 1, sizeof *cut);
      const size_t before = sb_test_live_bytes();
      sb_test_peak_begin();
      EXPECT_OK(sb_gains_create(g.model, g.backend, estimator, LEAST, MOST, costs > 0, &made));
      EXPECT_OK(sb_gains_prepare(made, g.pass));
      EXPECT_OK(sb_gains_measure(made, g.pass, raise, cut, &loss));
      /* beside that: the bit map, put aside; what kernels need for a moment */
      const size_t kept = g.model->blocks, scratch = 64 << 10;
      compare(sb_estimator_names[e],
              sb_gains_bytes(&sizes, estimator, WIDTHS, costs > 0, false) + kept + scratch,
              sb_test_peak_bytes() - before, kept + scratch);
      sb_gains_free(&made);
      EXPECT(sb_test_live_bytes() == before);
      free(raise);
      free(cut);
      golden_close(&g);
    }
  all_ranks_passed();
}

static void channels(void **state) {
  (void)state;
  golden g;
  sb_channels *made = NULL;
  double loss;
  open_warm(&g, &whole);
  const sb_sizes sizes = sb_model_sizes(g.model);
  const size_t before = sb_test_live_bytes();
  EXPECT_OK(sb_channels_measure(g.pass, g.model, g.backend, SB_CHANNELS_SQUARE, &loss, &made));
  compare("channels", sb_channels_bytes(&sizes), sb_test_live_bytes() - before,
          world.size > 1 ? (sizes.layers + 1) * sizeof(double[2]) : 0);
  sb_channels_free(&made);
  golden_close(&g);
  all_ranks_passed();
}

static void owned(void **state) {
  (void)state;
  golden g;
  sb_owned made;
  golden_open(&g, &whole);
  const size_t before = sb_test_live_bytes();
  EXPECT_OK(sb_owned_create(g.model, LEAST, MOST, &made));
  compare("owned", sb_owned_bytes(sb_model_owned_count(g.model)), sb_test_live_bytes() - before, 0);
  sb_owned_free(&made);
  golden_close(&g);
  all_ranks_passed();
}

/* A step of the search and a choice of all widths, on blocks enough for each of their buffers to
 * show. Bounds: what they really need depends on the gains. */
static void allocation(void **state) {
  (void)state;
  const instance_kind kind = {
      .n = 60000, .shapes = 1, .code_kind = SB_GRID_ASYMMETRIC, .min_bits = 1, .max_bits = 8};
  instance x = instance_create(&kind, 3);
  const size_t count = x.own;
  uint64_t storage = 0;
  sb_step_result step;
  EXPECT_OK(sb_blocks_total(&world, &x.mine, x.own_bits, &storage));
  size_t before = sb_test_live_bytes();
  sb_test_peak_begin();
  EXPECT_OK(sb_greedy_step(&world, &x.mine, x.own_gain, x.own_loss, storage, storage / 20,
                           x.own_bits, &step));
  size_t said = sb_greedy_step_bytes(count), taken = sb_test_peak_bytes() - before;
  compare("a step", said, taken, said / 3);
  sb_losses *losses = calloc(count + 1, sizeof *losses);
  for (size_t i = 0; i < count; i++)
    for (unsigned b = 1; b <= 8; b++) losses[i][b] = x.own_loss[i] * pow(0.25, b);
  sb_choose_result chosen;
  before = sb_test_live_bytes();
  sb_test_peak_begin();
  EXPECT_OK(
      sb_choose_blocks(&world, &x.mine, (const sb_losses *)losses, storage, x.own_bits, &chosen));
  said = sb_choose_blocks_bytes(count), taken = sb_test_peak_bytes() - before;
  compare("all widths", said, taken, said / 3);
  free(losses);
  instance_free(&x);
  all_ranks_passed();
}

static void check_scales(sb_trained what) {
  golden g;
  sb_model *packed = NULL;
  sb_scales *made = NULL;
  sb_scale_gradients *gradients = NULL;
  golden_open(&g, &whole);
  golden_mixed_bits(g.model, LEAST, MOST, 7);
  if (what.tables[0]) golden_mixed_tables(g.model, LEAST, MOST, 7);
  EXPECT_OK(sb_encode_nearest(g.model, &packed));
  const sb_sizes sizes = sb_model_sizes(packed);
  size_t before = sb_test_live_bytes(), chunks = 0;
  for (size_t i = 0; i < packed->table_count; i++)
    chunks += what.tables[i] ? packed->tables[i].count : 0;
  EXPECT_OK(sb_scales_create(packed, what, &made));
  compare("scales", sb_scales_bytes(&sizes, what) + 8 * chunks, sb_test_live_bytes() - before, 0);
  before = sb_test_live_bytes();
  EXPECT_OK(sb_scale_gradients_create(made, packed, g.backend, &gradients));
  compare("gradients of scales", sb_scale_gradients_bytes(&sizes, what),
          sb_test_live_bytes() - before, 0);
  sb_scale_gradients_free(&gradients);
  sb_scales_free(&made);
  sb_model_free(&packed);
  golden_close(&g);
}

static void scales(void **state) {
  (void)state;
  check_scales((sb_trained){0});
  check_scales((sb_trained){.norms = true});
  check_scales((sb_trained){.tables = {true, true}});
  check_scales((sb_trained){.tables = {true}});
  all_ranks_passed();
}

/* A plan for the golden model at hand, on this world. */
static sb_plan_setup plan_of(const golden *g, sb_reorder reorder) {
  return (sb_plan_setup){
      .arch = &g->model->arch,
      .source = g->model->dtypes[0],
      .ranks = (size_t)world.size,
      .ranks_per_node = (size_t)world.size,
      .threads = 1,
      .blocking = g->model->blocking,
      .reorder = reorder,
      .fitted = true,
      .seqlen = 48,
      .input_bytes = whole.activation_bytes,
      .tables.bits = {g->model->tables[0].coded ? 4 : 0, g->model->tables[1].coded ? 4 : 0}};
}

/* Passes as plan sums them, of two sequences, against sb_pass_create: forward alone, backward, by
 * divergence, in indexed orders, with widths of embedding and head. Rank 0 is a busiest one. */
static void passes(void **state) {
  (void)state;
  for (unsigned i = 0; i < 16; i++) {
    golden_setup setup = whole;
    golden g;
    sb_orders orders = {0};
    const bool indexed = (i & 4) != 0;
    setup.gradients = (i & 1) != 0;
    setup.divergence = (i & 2) != 0;
    setup.tables = (i & 8) != 0;
    if (indexed) setup.orders = indexed_orders(setup.name, &orders);
    golden_open(&g, &setup);
    const sb_plan_setup plan = plan_of(&g, indexed ? SB_REORDER_INDEXED : SB_REORDER_NONE);
    const sb_plan_basis basis = sb_plan_basis_of(&plan);
    const size_t local = sb_plan_local(&plan, 2);
    const sb_plan_pass pass =
        sb_plan_pass_of(&basis, &(sb_plan_pass_needs){.local = local,
                                                      .learnt = local,
                                                      .divergence = setup.divergence,
                                                      .backward = setup.gradients,
                                                      .gradients = setup.gradients});
    const size_t before = sb_test_live_bytes(),
                 said = (size_t)(pass.bytes - sb_plan_attention_bytes(&basis, setup.gradients));
    sb_pass_free(&g.pass);
    /* structures, and an order on its way to the device */
    const size_t slack = 4096, taken = before - sb_test_live_bytes();
    compare("a pass", said + slack, taken, world.rank == 0 ? 2 * slack : said);
    golden_close(&g);
    sb_orders_free(&orders);
  }
  all_ranks_passed();
}

/* What a pass with gradients keeps from the way forward, as far as `bytes` reach. */
static void kept_states(void **state) {
  (void)state;
  golden g;
  golden_open(&g, &whole);
  const sb_plan_setup plan = plan_of(&g, SB_REORDER_NONE);
  const sb_plan_basis basis = sb_plan_basis_of(&plan);
  const sb_wave_sizes wave = sb_plan_wave_sizes(&basis, sb_plan_local(&plan, 2));
  const size_t all = sb_kept_states_bytes(&wave, SIZE_MAX);
  sb_pass_setup setup = {.model = g.model,
                         .backend = g.backend,
                         .tokens = g.sequences.tokens,
                         .sequences = g.sequences.count,
                         .seqlen = 48,
                         .gradients = true,
                         .activation_bytes = whole.activation_bytes};
  for (size_t bytes = 0; bytes <= all + 1; bytes += all / 5) {
    sb_pass *without = NULL, *with = NULL;
    const size_t before = sb_test_live_bytes();
    setup.keep_bytes = 0;
    EXPECT_OK(sb_pass_create(&setup, &without));
    const size_t between = sb_test_live_bytes();
    setup.keep_bytes = bytes;
    EXPECT_OK(sb_pass_create(&setup, &with));
    const size_t taken = sb_test_live_bytes() - between - (between - before),
                 said = sb_kept_states_bytes(&wave, bytes);
    EXPECT(said <= bytes);
    compare("kept states", said, taken, 0);
    sb_pass_free(&with);
    sb_pass_free(&without);
  }
  EXPECT(sb_kept_states_bytes(&wave, all) == all && sb_kept_states_bytes(&wave, all - 1) < all);
  golden_close(&g);
  all_ranks_passed();
}

/* Sequences that go through layer after layer, and the layer they go through. */
static void check_layerwise(bool tables) {
  golden g;
  sb_layerwise *made = NULL;
  sb_device_layer *prepared = NULL;
  golden_setup setup = whole;
  setup.tables = tables;
  golden_open(&g, &setup);
  const sb_plan_setup plan = plan_of(&g, SB_REORDER_NONE);
  const sb_plan_basis basis = sb_plan_basis_of(&plan);
  const sb_wave_sizes wave = sb_plan_wave_sizes(&basis, sb_plan_local(&plan, 2));
  size_t before = sb_test_live_bytes();
  EXPECT_OK(sb_layerwise_create(g.model, g.backend, &g.sequences, &made));
  compare("layerwise",
          sb_layerwise_state_bytes(&wave) + sb_layerwise_bytes(&wave, false, tables) + 1024,
          sb_test_live_bytes() - before, 2048);
  before = sb_test_live_bytes();
  EXPECT_OK(sb_device_layer_create(g.model, g.backend, false, &prepared));
  compare("a prepared layer", (size_t)sb_plan_layer_bytes(&basis) + 2048,
          sb_test_live_bytes() - before, 4096);
  sb_device_layer_free(&prepared);
  sb_layerwise_free(&made);
  golden_close(&g);
}

static void layerwise(void **state) {
  (void)state;
  check_layerwise(false);
  check_layerwise(true);
  all_ranks_passed();
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(block_sums), cmocka_unit_test(scores),      cmocka_unit_test(diagonal),
    cmocka_unit_test(kronecker),  cmocka_unit_test(gains),       cmocka_unit_test(channels),
    cmocka_unit_test(owned),      cmocka_unit_test(allocation),  cmocka_unit_test(scales),
    cmocka_unit_test(passes),     cmocka_unit_test(kept_states), cmocka_unit_test(layerwise)};
RANKS_MAIN(tests)
