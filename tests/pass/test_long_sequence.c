/* Sequences longer than a tile of attention: what follows a token does not change its logits,
 * whatever tile it is in. */
#include "tests/support/golden.h"

#include <math.h>

/* As in test_golden_forward.c. */
static const double tolerance = 1e-4;

/* logits[T, vocab] of `tokens`; every rank computes the same. */
static float *logits_of(const golden *g, const uint32_t *tokens, size_t T) {
  sb_pass *pass = NULL;
  float *out = calloc(T * g->model->config.vocab, sizeof *out);
  const sb_pass_setup setup = {.model = g->model,
                               .backend = g->backend,
                               .tokens = tokens,
                               .sequences = (size_t)world.size,
                               .seqlen = T,
                               .activation_bytes = (size_t)1 << 30};
  EXPECT_OK(sb_pass_create(&setup, &pass));
  EXPECT_OK(sb_pass_logits(pass, 0, out));
  sb_pass_free(&pass);
  return out;
}

static double difference(const float *a, const float *b, size_t count) {
  double worst = 0;
  for (size_t i = 0; i < count; i++) worst = fmax(worst, fabs((double)a[i] - (double)b[i]));
  return worst;
}

static void prefixes(void **state) {
  enum { LONG = 300 };
  static const size_t lengths[] = {49, 63, 64, 65, 128, 129, 200};
  uint32_t tokens[LONG];
  (void)state;
  for (size_t i = 0; i < GOLDENS; i++) {
    golden g;
    char path[2048], *data = NULL;
    size_t bytes;
    golden_open(&g,
                &(golden_setup){.name = golden_names[i], .world = world_alone(), GOLDEN_DEFAULTS});
    const size_t vocab = g.model->config.vocab;
    memcpy(tokens, g.sequences.tokens, 48 * sizeof *tokens);
    for (size_t t = 48; t < LONG; t++) tokens[t] = (uint32_t)(mix(t) % vocab);
    golden_close(&g);

    golden_open(&g, &(golden_setup){.name = golden_names[i], GOLDEN_DEFAULTS});
    float *all = logits_of(&g, tokens, LONG);
    golden_path(&g, "logits.bin", path);
    EXPECT_OK(sb_file_read_all(path, 1 << 24, &data, &bytes));
    EXPECT(difference(all, (const float *)data, 48 * vocab) < tolerance);
    sb_free(&data);
    for (size_t k = 0; k < sizeof lengths / sizeof *lengths; k++) {
      float *prefix = logits_of(&g, tokens, lengths[k]);
      EXPECT(difference(all, prefix, lengths[k] * vocab) < tolerance);
      free(prefix);
    }
    /* ... and an earlier token does: the last rows depend on the first token */
    tokens[0] = (tokens[0] + 1) % (uint32_t)vocab;
    float *other = logits_of(&g, tokens, LONG);
    EXPECT(difference(all + (LONG - 1) * vocab, other + (LONG - 1) * vocab, vocab) > 1e-3);
    free(other);
    free(all);
    golden_close(&g);
  }
  all_ranks_passed();
}

static const struct CMUnitTest tests[] = {cmocka_unit_test(prefixes)};
RANKS_MAIN(tests)
