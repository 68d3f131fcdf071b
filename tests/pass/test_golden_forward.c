/* Logits and losses against Hugging Face transformers, in float32, on
 * every golden configuration. */
#include "tests/support/golden.h"

#include <math.h>

/* Both sides sum in float32 in their own order. Logits of these models reach about 10; measured
 * differences are below 1.4e-5, a wrong norm or rotation is off by more than 0.1. */
static const double logit_tolerance = 1e-4;
static const double loss_tolerance = 1e-5;

static void logits(void **state) {
  (void)state;
  for (size_t i = 0; i < GOLDENS; i++) {
    golden g;
    char path[2048], *data = NULL;
    size_t bytes;
    golden_open(&g, &(golden_setup){.name = golden_names[i], GOLDEN_DEFAULTS});
    const size_t each = 48 * g.model->config.vocab;
    float *ours = calloc(each, sizeof *ours);
    golden_path(&g, "logits.bin", path);
    EXPECT_OK(sb_file_read_all(path, 1 << 24, &data, &bytes));
    EXPECT(bytes == 2 * each * sizeof(float));
    for (size_t index = 0; index < sb_pass_local(&world, 1) + 1 && index < 2; index++) {
      /* every rank calls, also one whose sequences have come to an end */
      const size_t sequence = index * (size_t)world.size + (size_t)world.rank;
      double worst = 0;
      if (world.size > 1 && index == 1) break;
      EXPECT_OK(sb_pass_logits(g.pass, index, ours));
      if (sequence >= 2) continue;
      const float *theirs = (const float *)data + sequence * each;
      for (size_t k = 0; k < each; k++)
        worst = fmax(worst, fabs((double)ours[k] - (double)theirs[k]));
      if (!(worst < logit_tolerance))
        print_error("%s: largest difference %g\n", golden_names[i], worst);
      EXPECT(worst < logit_tolerance);
    }
    free(ours);
    sb_free(&data);
    golden_close(&g);
  }
  all_ranks_passed();
}

static void losses(void **state) {
  (void)state;
  for (size_t i = 0; i < GOLDENS; i++)
    for (size_t sequences = 1; sequences <= 2; sequences++) {
      golden g;
      double expected[2], loss = NAN;
      golden_open(
          &g, &(golden_setup){.name = golden_names[i], .sequences = sequences, GOLDEN_DEFAULTS});
      golden_losses(&g, expected);
      EXPECT_OK(sb_pass_loss(g.pass, &loss));
      EXPECT(fabs(loss - (sequences == 1 ? expected[0] : 0.5 * (expected[0] + expected[1]))) <
             loss_tolerance);
      golden_close(&g);
    }
  all_ranks_passed();
}

/* bf16 operands have 8 bits: losses of about 6 nats agree to two digits, and are not the
 * same as in float32. */
static void losses_in_bf16(void **state) {
  (void)state;
  for (size_t i = 0; i < GOLDENS; i++) {
    golden g;
    double expected[2], loss = NAN;
    sb_backend *bf16 = NULL;
    if (golden_backend(SB_COMPUTE_BF16, 1, &bf16) == SB_ERR_UNSUPPORTED) {
      print_message("skipped: %s\n", sb_message());
      break;
    }
    bf16->op->destroy(bf16);
    golden_open(
        &g, &(golden_setup){.name = golden_names[i], .compute = SB_COMPUTE_BF16, GOLDEN_DEFAULTS});
    golden_losses(&g, expected);
    EXPECT_OK(sb_pass_loss(g.pass, &loss));
    const double difference = fabs(loss - 0.5 * (expected[0] + expected[1]));
    EXPECT(difference < 0.05);
    EXPECT(difference > 1e-7);
    golden_close(&g);
  }
  all_ranks_passed();
}

static const struct CMUnitTest tests[] = {cmocka_unit_test(logits), cmocka_unit_test(losses),
                                          cmocka_unit_test(losses_in_bf16)};
RANKS_MAIN(tests)
