/* A pass that is given another batch computes what a new pass over that batch does, bit for bit,
 * with nothing left of the one before: neither a forward part nor a teacher. The new pass computes
 * layers and logits twice; the other one may keep them from the way forward. */
#include "tests/support/golden.h"

#include "pass/layer.h"

enum { T = 24, SEQUENCES = 4 };

typedef struct sums { /* of gradients, over this rank's sequences in order */
  const golden *g;
  uint64_t matrices, parameters;
} sums;

static sb_status matrix(void *context, sb_stream stream, size_t layer, size_t which,
                        const float *g) {
  sums *s = context;
  const sb_tiling *t = &sb_model_matrix(s->g->model, layer, which)->tiling;
  (void)stream;
  s->matrices = checksum(s->matrices, g, t->rows * t->cols);
  return SB_OK;
}

static sb_status parameter(void *context, sb_stream stream, size_t tensor, size_t first_row,
                           size_t rows, const float *g) {
  sums *s = context;
  (void)stream, (void)first_row;
  s->parameters = checksum(s->parameters, g, rows * s->g->model->arch.tensors[tensor].cols);
  return SB_OK;
}

static sb_pass *open_pass(const golden *g, const uint32_t *tokens, size_t activation_bytes,
                          size_t keep_bytes) {
  sb_pass *pass = NULL;
  EXPECT_OK(sb_pass_create(&(sb_pass_setup){.model = g->model,
                                            .backend = g->backend,
                                            .tokens = tokens,
                                            .sequences = SEQUENCES,
                                            .seqlen = T,
                                            .gradients = true,
                                            .all_gradients = true,
                                            .divergence = true,
                                            .activation_bytes = activation_bytes,
                                            .keep_bytes = keep_bytes},
                           &pass));
  return pass;
}

static double gradients(const golden *g, sb_pass *pass, sums *out) {
  const sb_pass_hooks hooks = {.context = out,
                               .begin_layer = golden_begin_layer,
                               .matrix = matrix,
                               .end_sequence = golden_end_sequence,
                               .end_layer = golden_end_layer,
                               .parameter = parameter};
  double loss = -1;
  *out = (sums){.g = g};
  EXPECT_OK(sb_pass_gradients(pass, &hooks, &loss));
  return loss;
}

/* Bytes for the logits, and for one layer. */
static size_t some_bytes(const sb_model *m) {
  const size_t local = sb_div_up(SEQUENCES, (size_t)m->world->size),
               layer = sb_layer_work_kept_bytes(SB_F32, SB_F32, &m->arch, T) + sizeof(void *);
  return local * (T * m->config.vocab * sizeof(float) + layer);
}

static void check(const golden *g, const uint32_t *const batch[2], size_t activation_bytes,
                  size_t keep_bytes) {
  sb_pass *fresh = open_pass(g, batch[1], activation_bytes, 0),
          *used = open_pass(g, batch[0], activation_bytes, keep_bytes);
  sums expected, before, got;
  double loss;
  const double expected_loss = gradients(g, fresh, &expected);
  const double loss_before = gradients(g, used, &before);
  EXPECT(loss_before != expected_loss);
  if (sb_pass_local(g->model->world, SEQUENCES) > 0)
    EXPECT(before.matrices != expected.matrices && before.parameters != expected.parameters);
  EXPECT_OK(sb_pass_learn(used)); /* forgotten with the batch */
  EXPECT_OK(sb_pass_loss(used, &loss));
  sb_pass_set_batch(used, batch[1], 7);
  EXPECT(gradients(g, used, &got) == expected_loss);
  EXPECT(got.matrices == expected.matrices && got.parameters == expected.parameters);
  sb_pass_set_batch(used, batch[0], 8);
  EXPECT_OK(sb_pass_loss(used, &loss));
  EXPECT(loss == loss_before);
  for (int again = 0; again < 2; again++) { /* the first uses up what the forward part has left */
    EXPECT(gradients(g, used, &got) == loss_before);
    EXPECT(got.matrices == before.matrices && got.parameters == before.parameters);
  }
  sb_pass_free(&used);
  sb_pass_free(&fresh);
}

static void check_model(const char *name) {
  golden g;
  uint32_t *batch[2];
  const size_t local = sb_pass_local(&world, SEQUENCES);
  golden_open(&g, &(golden_setup){.name = name, .gradients = true, GOLDEN_DEFAULTS});
  const size_t vocab = g.model->config.vocab;
  for (size_t k = 0; k < 2; k++) {
    batch[k] = calloc(local * T + 1, sizeof **batch);
    for (size_t i = 0; i < local * T; i++) {
      const size_t sequence = i / T * (size_t)world.size + (size_t)world.rank;
      batch[k][i] = (uint32_t)(mix(k * 100000 + sequence * T + i % T) % vocab);
    }
  }
  const uint32_t *const batches[2] = {batch[0], batch[1]};
  const size_t plenty = (size_t)1 << 30;
  check(&g, batches, plenty, 0);
  check(&g, batches, plenty, plenty);
  check(&g, batches, 1, plenty); /* one sequence at a time */
  check(&g, batches, plenty, some_bytes(g.model));
  free(batch[0]);
  free(batch[1]);
  golden_close(&g);
}

static void another_batch(void **state) {
  (void)state;
  check_model("gqa-tied");
  check_model("mha-untied");
  all_ranks_passed();
}

static const struct CMUnitTest tests[] = {cmocka_unit_test(another_batch)};
RANKS_MAIN(tests)
