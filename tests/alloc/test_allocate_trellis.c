/* The search for widths of trellis codes: what it says of its candidates is what a rounding and a
 * pass of the test's own say; the best one is taken; the result is the same on any number of ranks
 * and from a checkpoint. */
#include "alloc/allocate_trellis.h"

#include <math.h>

#include "alloc/budget.h"
#include "model/factors.h"
#include "tests/support/golden.h"
#include "tests/support/shared_scratch.h"

enum { ROUND_TO_NEAREST, ROUND_WITH_FEEDBACK, ROUNDINGS };

static const sb_gptq_options feedback = {.damping = 0.01};

static void open_trellis(golden *g, const sb_world *of) {
  golden_open(g, &(golden_setup){.name = "gqa-tied",
                                 .world = of,
                                 .gradients = true,
                                 .divergence = true,
                                 .threads = 1,
                                 .blocking = {64, 32, SB_TRELLIS_12},
                                 .activation_bytes = (size_t)1 << 30});
  EXPECT_OK(sb_factors_choose(g->model));
}

static sb_allocate_trellis_options options_of(const golden *g, double bits, int rounding) {
  return (sb_allocate_trellis_options){.bits = bits,
                                       .min_bits = 1,
                                       .max_bits = 8,
                                       .divergence = true,
                                       .rounding = &g->sequences,
                                       .gptq = rounding == ROUND_WITH_FEEDBACK ? &feedback : NULL,
                                       .activation_bytes = (size_t)1 << 30};
}

/* The divergence of the model at its present bits, rounded. Collective. */
static double divergence_of(golden *g, int rounding) {
  sb_model *coded = NULL;
  sb_gptq_stats stats;
  sb_pass *pass = NULL, *teacher = NULL;
  double loss = NAN;
  uint8_t *bits = NULL;
  EXPECT_OK(rounding == ROUND_WITH_FEEDBACK
                ? sb_gptq(g->model, g->backend, &g->sequences, &feedback, &coded, &stats)
                : sb_encode_nearest(g->model, &coded));
  sb_pass_setup setup =
      sb_sequences_setup(&g->sequences, g->model, g->backend, (size_t)1 << 30, (sb_ticker){0});
  setup.divergence = true;
  EXPECT_OK(sb_model_lift_bits(g->model, &bits));
  EXPECT_OK(sb_pass_create(&setup, &teacher));
  EXPECT_OK(sb_pass_learn(teacher));
  sb_model_return_bits(g->model, &bits);
  setup.model = coded;
  EXPECT_OK(sb_pass_create(&setup, &pass));
  EXPECT_OK(sb_pass_learn_from(pass, teacher));
  EXPECT_OK(sb_pass_loss(pass, &loss));
  sb_pass_free(&pass);
  sb_pass_free(&teacher);
  sb_model_free(&coded);
  return loss;
}

static void says_what_is(void **state) {
  (void)state;
  for (int rounding = 0; rounding < ROUNDINGS; rounding++) {
    golden g;
    sb_allocate_trellis_result r;
    open_trellis(&g, NULL);
    const double bits = sb_model_uniform_bits(g.model, 2) + 0.6;
    const sb_allocate_trellis_options o = options_of(&g, bits, rounding);
    EXPECT_OK(sb_allocate_trellis(g.model, g.backend, &g.sequences, &o, &r));
    EXPECT(r.coded && memcmp(r.coded->bits, g.model->bits, g.model->blocks) == 0);
    for (sb_candidate c = 0; c < SB_CANDIDATES; c++) {
      EXPECT(r.candidates[c].tried && r.candidates[c].effective_bits <= bits + 1e-9);
      EXPECT(r.candidates[r.chosen].loss <= r.candidates[c].loss);
    }
    EXPECT(divergence_of(&g, rounding) == r.candidates[r.chosen].loss);
    EXPECT(sb_budget_left(g.model, &(sb_budget){bits, 1, 8, SB_WIDTH_OF_BLOCK}).bits >= 0);
    memset(g.model->bits, 2, g.model->blocks);
    EXPECT(divergence_of(&g, rounding) == r.candidates[SB_CANDIDATE_UNIFORM].loss);
    EXPECT(fabs(r.candidates[SB_CANDIDATE_UNIFORM].effective_bits -
                sb_model_uniform_bits(g.model, 2)) < 1e-9);
    sb_model_free(&r.coded);
    golden_close(&g);
  }
  all_ranks_passed();
}

/* A budget that a width meets to the bit leaves nothing to mix; below the least width there is no
 * uniform candidate. */
static void ends_of_the_range(void **state) {
  (void)state;
  golden g;
  sb_allocate_trellis_result r;
  open_trellis(&g, NULL);
  sb_allocate_trellis_options o =
      options_of(&g, sb_model_uniform_bits(g.model, 3) + 1e-9, ROUND_TO_NEAREST);
  o.min_bits = o.max_bits = 3;
  EXPECT_OK(sb_allocate_trellis(g.model, g.backend, &g.sequences, &o, &r));
  EXPECT(r.candidates[SB_CANDIDATE_BLOCK].tried && r.candidates[SB_CANDIDATE_BLOCK].seconds == 0);
  EXPECT(r.candidates[SB_CANDIDATE_BLOCK].loss == r.candidates[SB_CANDIDATE_UNIFORM].loss);
  EXPECT(r.chosen == SB_CANDIDATE_UNIFORM);
  sb_model_free(&r.coded);
  o.by_matrix = true;
  o.min_bits = 1;
  o.bits = sb_model_uniform_bits(g.model, 2) + 0.3;
  EXPECT_OK(sb_allocate_trellis(g.model, g.backend, &g.sequences, &o, &r));
  EXPECT(r.candidates[SB_CANDIDATE_MATRIX].tried && !r.candidates[SB_CANDIDATE_BLOCK].tried);
  for (size_t i = 0; i < g.model->arch.matrix_count; i++) {
    const sb_matrix *m = &g.model->matrices[i];
    const size_t blocks = sb_tiling_block_rows(&m->tiling) * sb_tiling_block_cols(&m->tiling);
    for (size_t k = 1; k < blocks; k++)
      EXPECT(g.model->bits[m->first_block + k] == g.model->bits[m->first_block]);
  }
  sb_model_free(&r.coded);
  o.bits = 0.6;
  EXPECT(sb_allocate_trellis(g.model, g.backend, &g.sequences, &o, &r) == SB_ERR_RANGE);
  EXPECT(r.coded == NULL);
  golden_close(&g);
  all_ranks_passed();
}

static void same_on_any_ranks(void **state) {
  (void)state;
  golden g, alone;
  sb_allocate_trellis_result r, of_one;
  open_trellis(&g, NULL);
  open_trellis(&alone, world_alone());
  const double bits = sb_model_uniform_bits(g.model, 2) + 0.4;
  sb_allocate_trellis_options o = options_of(&g, bits, ROUND_WITH_FEEDBACK),
                              o1 = options_of(&alone, bits, ROUND_WITH_FEEDBACK);
  EXPECT_OK(sb_allocate_trellis(g.model, g.backend, &g.sequences, &o, &r));
  EXPECT_OK(sb_allocate_trellis(alone.model, alone.backend, &alone.sequences, &o1, &of_one));
  EXPECT(r.chosen == of_one.chosen);
  EXPECT(memcmp(g.model->bits, alone.model->bits, g.model->blocks) == 0);
  for (int c = 0; c < SB_CANDIDATES; c++) EXPECT(r.candidates[c].loss == of_one.candidates[c].loss);
  sb_model_free(&r.coded);
  sb_model_free(&of_one.coded);
  golden_close(&g);
  golden_close(&alone);
  all_ranks_passed();
}

static void goes_on_from_its_checkpoint(void **state) {
  (void)state;
  golden g;
  sb_allocate_trellis_result r;
  char path[SB_PATH_MAX];
  scratch_begin();
  snprintf(path, sizeof path, "%.1000s/search", scratch);
  open_trellis(&g, NULL);
  sb_allocate_trellis_options o =
      options_of(&g, sb_model_uniform_bits(g.model, 2) + 0.4, ROUND_TO_NEAREST);
  o.checkpoint = path;
  EXPECT_OK(sb_allocate_trellis(g.model, g.backend, &g.sequences, &o, &r));
  EXPECT(!r.resumed);
  sb_model_free(&r.coded);
  uint8_t *bits = malloc(g.model->blocks);
  memcpy(bits, g.model->bits, g.model->blocks);
  memset(g.model->bits, 0, g.model->blocks);
  EXPECT_OK(sb_allocate_trellis(g.model, g.backend, &g.sequences, &o, &r));
  EXPECT(r.resumed && !r.coded && memcmp(bits, g.model->bits, g.model->blocks) == 0);
  o.bits += 0.1;
  EXPECT(sb_allocate_trellis(g.model, g.backend, &g.sequences, &o, &r) == SB_ERR_FORMAT);
  EXPECT(strstr(sb_message(), "--bits") != NULL);
  free(bits);
  golden_close(&g);
  scratch_end();
  all_ranks_passed();
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(says_what_is), cmocka_unit_test(ends_of_the_range),
    cmocka_unit_test(same_on_any_ranks), cmocka_unit_test(goes_on_from_its_checkpoint)};
RANKS_MAIN(tests)
