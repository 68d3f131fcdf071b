/* A pass that has learnt what the source weights say: its loss is their
 * divergence from the model. */
#include "tests/support/golden.h"

#include <math.h>

#ifdef SB_TEST_ON_CUDA /* a stand-in is slow */
enum { TRIED = 1 };
#else
enum { TRIED = GOLDENS };
#endif

static double loss_at(golden *g, unsigned bits) {
  double loss = NAN;
  if (bits == 0)
    memset(g->model->bits, 0, g->model->blocks);
  else
    golden_mixed_bits(g->model, bits, bits + 2, 9);
  sb_pass_forget(g->pass);
  EXPECT_OK(sb_pass_loss(g->pass, &loss));
  return loss;
}

/* By sb_pass_compare, which test_compare holds against plain loops over logits. */
static double compared(const golden_setup *setup, unsigned bits) {
  golden_setup plain = *setup;
  golden model, ref;
  sb_comparison got = {0};
  plain.divergence = plain.gradients = false;
  golden_open(&model, &plain);
  golden_open(&ref, &plain);
  golden_mixed_bits(model.model, bits, bits + 2, 9);
  EXPECT_OK(sb_pass_compare(model.pass, ref.pass, &got));
  golden_close(&model);
  golden_close(&ref);
  return got.mean_kl;
}

static void loss_is_the_divergence(void **state) {
  (void)state;
  for (size_t i = 0; i < TRIED; i++) {
    golden_setup setup = {.name = golden_names[i], .divergence = true, GOLDEN_DEFAULTS};
    double at_3 = NAN;
    for (int way = 0; way < 3; way++) {
      golden g;
      setup.gradients = way > 0;
      setup.activation_bytes = way < 2 ? (size_t)1 << 30 : 1; /* one sequence a wave */
      golden_open(&g, &setup);
      const double before = loss_at(&g, 3);
      EXPECT(sb_pass_token_loss(g.pass) == before);
      uint8_t *bits = malloc(g.model->blocks);
      memcpy(bits, g.model->bits, g.model->blocks);
      EXPECT_OK(sb_pass_learn(g.pass));
      EXPECT(memcmp(bits, g.model->bits, g.model->blocks) == 0);
      free(bits);
      EXPECT(loss_at(&g, 0) == 0.0);
      const double loss = loss_at(&g, 3);
      if (way == 0) at_3 = loss;
      EXPECT(loss == at_3 && loss > 0.001 && loss < before);
      EXPECT(sb_pass_token_loss(g.pass) == before);
      EXPECT_OK(sb_pass_learn(g.pass)); /* again, with the loss a divergence by now */
      EXPECT(loss_at(&g, 3) == at_3);
      golden_close(&g);
    }
    /* Float32 soft-max statistics on both sides: measured differences are below 2e-7 nats. */
    EXPECT(fabs(at_3 - compared(&setup, 3)) < 1e-6);
  }
  all_ranks_passed();
}

static void only_where_prepared(void **state) {
  (void)state;
  golden g;
  golden_open(&g, &(golden_setup){.name = "mha-untied", GOLDEN_DEFAULTS});
  EXPECT(sb_pass_learn(g.pass) == SB_ERR_INTERNAL);
  golden_close(&g);
  all_ranks_passed();
}

static const struct CMUnitTest tests[] = {cmocka_unit_test(loss_is_the_divergence),
                                          cmocka_unit_test(only_where_prepared)};
RANKS_MAIN(tests)
